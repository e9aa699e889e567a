"""Which reader of Airflow's state a command uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from provider import settings
from provider.exceptions import ConfigurationError
from provider.reconciler.airflow_state import Source, database_source
from provider.texts import first_line
from provider.threads import within

if TYPE_CHECKING:
    from provider.hooks.airflow_api import AirflowApi

Reader = Literal["auto", "database", "api"]

_DEFAULT_CONN_ID = "airflow_api"
#: How long Airflow's database may take to answer, in seconds.
_DATABASE_SECONDS = 20.0


def choose_source(reader: Reader) -> tuple[Source, str]:
    """
    Return a source, and what to tell people of it.

    :param reader: ``auto`` takes Airflow's own database where this process reaches it, else its REST API.
    :raises ConfigurationError: neither, or the one that was asked for, can be had.
    """
    why = ""
    if reader != "api":
        try:
            within(_DATABASE_SECONDS, _look_into_database, "accelerator-airflow-database")
        except Exception as error:
            why = f"{type(error).__name__}: {first_line(error)}"
            if reader == "database":
                raise ConfigurationError(
                    f"Airflow's database cannot be read here ({why}). Use --reader api, with an Airflow connection "
                    f"{_DEFAULT_CONN_ID}."
                ) from error
        else:
            return database_source(), "Airflow's database"
    try:
        api, conn_id = open_api()
    except ConfigurationError as error:
        also = f" Airflow's database cannot be read here either ({why})." if why else ""
        raise ConfigurationError(f"{error}{also}") from error
    from provider.reconciler.airflow_api import api_source

    return api_source(api), f"Airflow's REST API (connection {conn_id})"


def open_api() -> tuple[AirflowApi, str]:
    """
    Return Airflow's REST API for a command, and the id of the connection that it comes from.

    :raises ConfigurationError: there is no such connection, or it is incomplete.
    """
    from airflow.sdk.exceptions import AirflowNotFoundException

    from provider.hooks.airflow_api import AirflowApiHook

    conn_id = settings.get("airflow_conn_id") or _DEFAULT_CONN_ID
    try:
        return within(_DATABASE_SECONDS, AirflowApiHook(conn_id).get_conn, "accelerator-airflow-connection"), conn_id
    except TimeoutError:
        raise ConfigurationError(
            f"Airflow's database, which may have the connection {conn_id}, does not answer; set AIRFLOW_CONN_{conn_id.upper()}."
        ) from None
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"There is no Airflow connection {conn_id}; create it, or set AIRFLOW_CONN_{conn_id.upper()} to "
            '{"conn_type": "airflow_api", "host": "http://localhost:8080", "login": "…", "password": "…"}.'
        ) from None


def _look_into_database() -> None:
    from provider.reconciler.airflow_state import read_airflow

    with read_airflow() as airflow:
        airflow.workflow_ids()
