"""
The service of a job that a task has recorded.

A task's process writes what it likes into the task state store. So that says which service and which job are meant, and
everything that chooses whom the reconciler talks to, and as whom, comes from the DAG's definition and the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from provider.airflow_internals.dags import Unsaid
from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import RemoteCallError
from provider.hooks.remote_service import Connection, RemoteService, service_class
from provider.hooks.shared_services import OPENING_SECONDS, shared_service
from provider.hooks.wait_budget import WaitBudget
from provider.texts import quoted
from provider.threads import awithin

#: What Jinja renders, in any of its forms.
_TEMPLATE_MARKS = ("{{", "{%", "{#")


async def recorded_service(recorded: Mapping[str, Any], operator: Mapping[str, Any] | None) -> RemoteService[Any]:
    """
    Open the service that a ledger names, with the connection of the task's definition.

    :param recorded: ``{"name", "conn_id"}``, see :class:`~provider.operators.job_ledger.JobLedger`.
    :param operator: templated parameters of the task's operator, as the DAG has them; None where that is gone.
    :raises ConfigurationError: there is no such service, or definition and ledger do not agree.
    :raises RemoteCallError: it could not be opened in time.
    """
    name = str(recorded.get("name"))
    try:
        cls = await awithin(OPENING_SECONDS, partial(service_class, name), "accelerator-import")
        connection = connection_of(cls, recorded, operator)
        return await shared_service(name, connection, WaitBudget())
    except TimeoutError as error:
        raise RemoteCallError(f"The remote service {name} could not be opened: {error}.") from error


def connection_of(
    service: type[RemoteService[Any]], recorded: Mapping[str, Any], operator: Mapping[str, Any] | None
) -> Connection:
    """
    Return connection and identity of a task, by its definition.

    :param service: says which of the operator's parameters choose them, and the connection id that is the default.
    :raises ConfigurationError: the definition does not tell, or the ledger says otherwise.
    """
    if operator is None:
        raise ConfigurationError("the DAG's definition is gone, and nothing else may say with which connection to cancel.")
    fields = service.connection_fields
    defaults = {fields[0]: service.default_conn_name}
    connection = {name: operator.get(name) for name in fields}
    for name, value in connection.items():
        if value is Unsaid.DEFAULT:
            connection[name] = defaults.get(name)
        elif value is Unsaid.EXPANDED:
            raise ConfigurationError(f"{name} is {value.value}, and nothing tells which one this task has.")
        if any(mark in str(value) for mark in _TEMPLATE_MARKS):
            raise ConfigurationError(f"{name} is a template, and what a task rendered may choose no connection and no identity.")
    conn_id = connection[fields[0]]
    if not conn_id or conn_id != recorded.get("conn_id"):
        raise ConfigurationError(
            f"the task's definition says {fields[0]} {quoted(conn_id)}, and its ledger {quoted(recorded.get('conn_id'))}."
        )
    return connection
