"""Which way to see Airflow this process has."""

from __future__ import annotations

from provider import settings
from provider.airflow_view.by_database import DatabaseView
from provider.airflow_view.view import RunsView
from provider.exceptions import UnseenError
from provider.texts import first_line


def open_view() -> RunsView:
    """
    Return the way to see Airflow: its API where ``[accelerator] airflow_conn_id`` is set, else its database.

    :raises UnseenError: neither is at hand.
    """
    if conn_id := settings.get("airflow_conn_id"):
        from provider.airflow_view.by_api import ApiView
        from provider.hooks.airflow_api import AirflowApiHook

        return ApiView(AirflowApiHook(conn_id).get_conn(), conn_id)
    view = DatabaseView()
    try:
        view.dag("")
    except Exception as error:
        raise UnseenError(
            f"there is no Airflow database here ({type(error).__name__}: {first_line(error, 200)})",
            "Set [accelerator] airflow_conn_id to a connection of type airflow_api, or run this where Airflow's scheduler runs.",
        ) from error
    return view
