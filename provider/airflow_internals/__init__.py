"""
The one door to what Airflow does not call public.

Airflow promises nothing about these names, so whatever needs one asks here, and ``tests/test_private_names.py`` fails where
other code reaches past this package. Each function says what it stands on and with which version that was seen. Each module
has contract tests, which fail when Airflow renames or changes one of these things:

=================  ==============================================================  ============================================
module             stands on                                                       contract tests in ``tests/provider/``
=================  ==============================================================  ============================================
``audit_log``      events of the audit log, of people and of the scheduler         ``airflow_internals/test_audit_log.py``
``dags``           DAGs as Airflow stores them, instances of mapped operators      ``airflow_internals/test_dags.py``
``database``       tables, sessions and stored DAGs of Airflow                     ``airflow_internals/test_database.py``
``google``         methods of the Google provider's operators                      ``airflow_internals/test_google.py``
``health``         the health of Airflow's processes, as its API tells it          ``airflow_internals/test_health.py``
``operators``      what the constructor of an operator leaves                      ``airflow_internals/test_operators.py``
``people``         who asks the API server, and what this person may do            ``airflow_internals/test_people.py``
``pools``          Airflow's pools, as commands see them                           ``airflow_internals/test_pools.py``
``processes``      Job, task instances and supervisors, as listeners meet them     ``airflow_internals/test_processes.py``
``secrets``        the masking of secrets, the secrets backend                     ``airflow_internals/test_secrets.py``
``supervisor``     what a task asks its supervisor, and the answers                ``airflow_internals/test_supervisor.py``
``xcom``           reading one XCom, for links                                     ``airflow_internals/test_xcom.py``
=================  ==============================================================  ============================================

A changed name is an ImportError or an AttributeError, which nobody overlooks. Where a change would cost something in silence,
the product says so itself: what can be told in advance by :func:`check`, the rest where it is met (see ``processes``).

Nothing of Airflow is imported with this package: most of its users run in task processes or without Airflow.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version

#: Modules whose ``problems()`` tell what a change of Airflow would otherwise cost in silence.
_CHECKED = ("audit_log", "database", "processes", "supervisor")


def airflow_version() -> str:
    """Return the version of the installed Airflow, for messages."""
    return version("apache-airflow-core")


def check() -> list[str]:
    """
    Look whether this Airflow still works as the product takes for granted, as far as nobody else would notice.

    For processes that have Airflow's database: its models are imported. Beyond them it costs some milliseconds.

    :return: what is different and what is lost by it; empty where everything is as it should be.
    """
    found: list[str] = []
    for name in _CHECKED:
        try:
            module = importlib.import_module(f"{__name__}.{name}")
            problems: list[str] = module.problems() if hasattr(module, "problems") else []
        except (ImportError, AttributeError) as error:
            problems = [f"{error}; no task logs are reconciled"]
        found += [f"Airflow {airflow_version()} is not as this version of the provider knows it: {what}." for what in problems]
    return found
