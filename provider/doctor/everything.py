"""All checks of this installation, in the order in which people read them."""

from __future__ import annotations

import contextlib
import importlib

from provider import settings
from provider.doctor.airflow_state import airflow_checks
from provider.doctor.database import database_checks, token_check
from provider.doctor.examination import Check, Finding, State, examine
from provider.doctor.machine import machine_checks
from provider.doctor.services import service_checks

#: Airflow's modules import each other in circles: threads that import them at once find them half made.
_FIRST = ("airflow.sdk", "provider.plugin", "provider.hooks.airflow_api")
_FOR_ITS_DATABASE = ("provider.airflow_internals.database", "provider.airflow_internals.health")


def all_checks(expected: str | None = None) -> list[Check]:
    """
    Return the checks.

    :param expected: a token that another process has left in the database.
    """
    token = [token_check(expected)] if expected else []
    return [*database_checks(), *token, *airflow_checks(), *service_checks(), *machine_checks()]


def examine_everything(expected: str | None = None) -> list[Finding]:
    """Carry out all checks; parameters as in :func:`all_checks`."""
    for module in (*_FIRST, *(() if settings.get("airflow_conn_id") else _FOR_ITS_DATABASE)):
        with contextlib.suppress(Exception):  # the check that needs it tells; in a task it is no ImportError
            importlib.import_module(module)
    return examine(all_checks(expected))


def is_well(findings: list[Finding]) -> bool:
    """Tell whether no check found an error."""
    return all(finding.state is not State.ERROR for finding in findings)
