"""Which way to see Airflow this process has."""

from __future__ import annotations

import sqlite3

from provider import settings
from provider.airflow_internals.secrets import redact
from provider.airflow_view.by_database import DatabaseView
from provider.airflow_view.view import RunsView
from provider.exceptions import AcceleratorError, UnseenError
from provider.texts import first_line


def open_view() -> RunsView:
    """
    Return the way to see Airflow: its API where ``[accelerator] airflow_conn_id`` is set, else its database.

    :raises UnseenError: neither is at hand.
    :raises AcceleratorError: Airflow's database server does not answer.
    """
    if conn_id := settings.get("airflow_conn_id"):
        from provider.airflow_view.by_api import ApiView
        from provider.hooks.airflow_api import AirflowApiHook

        return ApiView(AirflowApiHook(conn_id).get_conn(), conn_id)
    view = DatabaseView()
    try:
        view.dag("")
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(redact(str(getattr(error, 'orig', None) or error)), 200)}"
        if _is_of_a_server(error):
            raise AcceleratorError(f"Airflow's database does not answer ({said}).") from error
        raise UnseenError(
            f"there is no Airflow database here ({said})",
            "Set [accelerator] airflow_conn_id to a connection of type airflow_api, or run this where Airflow's scheduler runs.",
        ) from error
    return view


def _is_of_a_server(error: Exception) -> bool:
    """Tell whether a server is away. SQLite, which Airflow uses unless it is told otherwise, says the same where no table is."""
    from provider.metadata.engine import is_outage

    return is_outage(error) and not isinstance(getattr(error, "orig", None), sqlite3.Error)
