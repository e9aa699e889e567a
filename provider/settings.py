"""
The ``[accelerator]`` settings, read alike with and without Airflow.

The console script ``accelerator`` works on the tables alone and must not pay the seconds that importing Airflow costs. So
the sources are read here, in Airflow's order: environment variable, its ``_CMD`` and ``_SECRET`` forms, then the same three in
``airflow.cfg``. Only a secret needs a secrets backend, hence Airflow. One reader for both ways in: two of them would sooner
or later name two databases.
"""

from __future__ import annotations

import configparser
import contextlib
import math
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provider.airflow_internals.secrets import from_secrets_backend
from provider.exceptions import ConfigurationError, SettingUnavailableError
from provider.threads import within

SECTION = "accelerator"

#: Option name → description in the form that Airflow's provider info wants; the one place where defaults are written.
OPTIONS: dict[str, dict[str, Any]] = {
    "sql_alchemy_conn": {
        "description": "SQLAlchemy URL of the application database (workflows, tasks, batches, task logs). Never Airflow's own "
        "database. The default is an embedded SQLite file, for one machine only; use PostgreSQL elsewhere.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "postgresql://accelerator:***@10.0.0.5/accelerator",
        "default": "sqlite:///{AIRFLOW_HOME}/accelerator.db",
        "sensitive": True,
    },
    "snapshot_dir": {
        "description": "Folder that keeps the last good definitions, from which DAGs are built while the application database "
        "is away. May be a folder shared by several machines. On Cloud Composer the default is "
        "/home/airflow/gcs/data/accelerator, which is in the environment's bucket.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "/home/airflow/gcs/data/accelerator",
        "default": "{AIRFLOW_HOME}/accelerator",
    },
    "pubsub_subscriptions": {
        "description": "Comma-separated Pub/Sub subscriptions that the dispatcher listens to. Without one the dispatcher DAG "
        "has nothing to wait for and is not created.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "projects/my-project/subscriptions/task-batches",
        "default": "",
    },
    "gcp_conn_id": {
        "description": "Airflow connection that the dispatcher uses for Pub/Sub.",
        "version_added": "0.1.0",
        "type": "string",
        "example": None,
        "default": "google_cloud_default",
    },
    "burst_helpers": {
        "description": "Runs of the DAG accelerator_burst that help the dispatcher when 100 requests or more can be started at "
        "once, so that the API server has several runs to create at a time. 0: the dispatcher starts all runs itself.",
        "version_added": "0.1.0",
        "type": "integer",
        "example": None,
        "default": "3",
    },
    "inbox_retention_days": {
        "description": "Days for which the inbox keeps requests that have ended. Pub/Sub itself keeps a message for 31 days at "
        "most.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "35",
    },
    "reconcile_interval": {
        "description": "Seconds between two looks of the reconciler at Airflow's task instances.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "2.0",
    },
    "airflow_conn_id": {
        "description": "Airflow connection of type airflow_api to this Airflow's own REST API. With it the DAG "
        "accelerator_reconciler keeps batches and task logs up to date where the scheduler cannot, as on Cloud Composer. "
        "Without one the DAG is not created.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "airflow_api",
        "default": "",
    },
    "notifiers": {
        "description": "What rules of the table alert_rules may use to tell people, comma-separated: mail, slack, teams, topic, "
        "or class paths of Airflow notifiers, with * for any characters. Without any there are no alerts, and the DAG "
        "accelerator_alerts is not created.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "mail, slack, airflow.providers.pagerduty.notifications.*",
        "default": "",
    },
    "allowed_operators": {
        "description": "What tasks of type operator may name, comma-separated: class paths of Airflow operators, with * for any "
        "characters. Whoever may write rows can run what is allowed here with any arguments. Without any, none can be named.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "airflow.providers.google.cloud.operators.gcs.*, airflow.providers.http.operators.http.HttpOperator",
        "default": "",
    },
    "allowed_callables": {
        "description": "What tasks of type python may call, comma-separated: paths of functions of packages, with * for any "
        "characters. Whoever may write rows can call what is allowed with any arguments. Without any, none can be called.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "acme_etl.jobs.*",
        "default": "",
    },
    "outage_wait_hours": {
        "description": "How long start_batch waits for an application database that is away, in hours, without holding a "
        "worker. Then its try fails.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "12.0",
    },
}

#: The data folder of the bucket of a Cloud Composer environment, as its machines see it. The disk of a machine there is gone with
#: the machine, and one that is replaced while the application database is away would have no definitions to make DAGs from.
COMPOSER_DATA = Path("/home/airflow/gcs/data")

#: How long a command or a secrets backend may take to give a setting, in seconds.
SECRET_SECONDS = 10.0

_resolved: dict[tuple[str, str], str] = {}
_resolving = threading.Lock()

_LOCAL_EXECUTORS = frozenset({"LocalExecutor", "SequentialExecutor", "DebugExecutor"})


def airflow_home() -> Path:
    """Return ``$AIRFLOW_HOME``, by Airflow's own rule (default ``~/airflow``)."""
    return Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()


def get(option: str) -> str:
    """
    Return one ``[accelerator]`` option.

    :param option: a key of :data:`OPTIONS`.
    :raises SettingUnavailableError: it is a secret's, and whatever has it does not give it now.
    """
    value = _configured(SECTION, option)
    if value is None:
        value = _default(option)
    return value


def get_float(option: str) -> float:
    """
    Return one ``[accelerator]`` option as a number.

    :raises ConfigurationError: the value is not a number above zero.
    """
    raw = get(option)
    try:
        value = float(raw)
    except ValueError:
        value = 0.0
    if not (value > 0 and math.isfinite(value)):
        raise ConfigurationError(f"[{SECTION}] {option} must be a number above 0, not {raw!r}; correct the setting.")
    return value


def get_count(option: str) -> int:
    """
    Return one ``[accelerator]`` option as a whole number.

    :raises ConfigurationError: the value is not a whole number, or it is below zero.
    """
    raw = get(option)
    if not (raw.isascii() and raw.strip().isdigit()):
        raise ConfigurationError(f"[{SECTION}] {option} must be a whole number, 0 or more, not {raw!r}; correct the setting.")
    return int(raw)


def get_list(option: str) -> list[str]:
    """Return one comma-separated ``[accelerator]`` option as a list without blanks."""
    return [item.strip() for item in get(option).split(",") if item.strip()]


def uses_embedded_database() -> bool:
    """Tell whether the application database is SQLite, that is, a file only this machine sees."""
    return get("sql_alchemy_conn").startswith("sqlite")


def spanning_executors() -> list[str]:
    """Return the configured executors that run tasks on several machines, by their class names."""
    configured = _configured("core", "executor") or "LocalExecutor"
    names = [name.strip().rpartition(":")[2].rpartition(".")[2] for name in configured.replace(";", ",").split(",")]
    return [name for name in names if name not in _LOCAL_EXECUTORS]


def refuse_embedded_database_across_machines() -> None:
    """
    Refuse an SQLite application database under an executor that spans machines.

    Each machine would write a file of its own and the record would be split without anybody noticing.

    :raises ConfigurationError: naming the executor and the setting to set.
    """
    if not uses_embedded_database():
        return
    spanning = spanning_executors()
    if spanning:
        raise ConfigurationError(
            f"[core] executor = {', '.join(spanning)} runs tasks on several machines, but the application database is an SQLite "
            f"file on this one, so batches and task logs would be split without a sign. Set [{SECTION}] sql_alchemy_conn "
            f"(AIRFLOW__{SECTION.upper()}__SQL_ALCHEMY_CONN) to a PostgreSQL URL and run `accelerator db upgrade`."
        )


def _configured(section: str, option: str) -> str | None:
    """Return what is configured, or None where nothing is."""
    variable = f"AIRFLOW__{section.upper()}__{option.upper()}"
    if variable in os.environ:
        return _expand(os.environ[variable])
    sensitive = section == SECTION and bool(OPTIONS[option].get("sensitive"))
    if sensitive and (command := os.environ.get(f"{variable}_CMD")):
        return _run_command(command, f"{variable}_CMD")
    if sensitive and (secret := os.environ.get(f"{variable}_SECRET")):
        return _read_secret(secret, f"{variable}_SECRET")
    return _from_file(section, option, sensitive=sensitive)


def _from_file(section: str, option: str, *, sensitive: bool) -> str | None:
    path = Path(os.environ.get("AIRFLOW_CONFIG") or airflow_home() / "airflow.cfg").expanduser()
    parser = configparser.ConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
        given = {name: parser.get(section, name, fallback="") for name in (option, f"{option}_cmd", f"{option}_secret")}
    except (configparser.Error, UnicodeDecodeError) as error:
        # The error's own text may quote a line, and that may be the one with the password.
        raise ConfigurationError(
            f"{path} cannot be read ({type(error).__name__}, section [{section}]). Correct the file."
        ) from None
    value = _expand(given[option])
    # Airflow writes every default into a new airflow.cfg; such a line says nothing.
    if value and not (section == SECTION and value == _declared_default(option)):
        return value
    if sensitive and (command := given[f"{option}_cmd"]):
        return _run_command(command, f"[{section}] {option}_cmd")
    if sensitive and (secret := given[f"{option}_secret"]):
        return _read_secret(secret, f"[{section}] {option}_secret")
    return None


def _default(option: str) -> str:
    if option == "snapshot_dir" and COMPOSER_DATA.is_dir() and os.access(COMPOSER_DATA, os.W_OK | os.X_OK):
        return str(COMPOSER_DATA / "accelerator")
    return _declared_default(option)


def _declared_default(option: str) -> str:
    """Return the default that Airflow is told of, which is one for all places."""
    return str(OPTIONS[option]["default"]).replace("{AIRFLOW_HOME}", str(airflow_home()))


def _expand(value: str) -> str:
    """Put environment variables and ``~`` in, as Airflow does with what stands in the environment or in its file."""
    return os.path.expanduser(os.path.expandvars(value))  # noqa: PTH111 - a URL is no path


def _once(where: str, name: str, resolve: Callable[[], str]) -> str:
    """
    Resolve a secret once for each process, within :data:`SECRET_SECONDS`; what failed is tried again with the next call.

    :raises SettingUnavailableError: it failed, or did not come in time.
    """
    with _resolving:
        if (where, name) not in _resolved:
            try:
                _resolved[(where, name)] = within(SECRET_SECONDS, resolve, "accelerator-setting")
            except SettingUnavailableError:
                raise
            except TimeoutError:
                raise SettingUnavailableError(f"{where} gave nothing within {SECRET_SECONDS:g} s; look why it hangs.") from None
            except Exception as error:  # noqa: BLE001 - whatever a backend of somebody else's raises
                # Its own text may quote the secret, or where it is.
                raise SettingUnavailableError(f"{where} failed ({type(error).__name__}); look into what it names.") from None
        return _resolved[(where, name)]


def _read_secret(name: str, where: str) -> str:
    def resolve() -> str:
        value = from_secrets_backend(name)
        if value is None:
            raise SettingUnavailableError(
                f"{where} names a secret that no secrets backend has; create it, or configure [secrets] backend."
            )
        return value.strip()

    return _once(where, name, resolve)


def _run_command(command: str, where: str) -> str:
    """Run a ``_CMD`` setting the way Airflow does: split by shell rules, without a shell."""

    def resolve() -> str:
        process = subprocess.Popen(  # noqa: S603 - what the installation's own settings say
            shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        try:
            out, _ = process.communicate(timeout=SECRET_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise TimeoutError from None
        if process.returncode != 0:
            raise SettingUnavailableError(
                f"the command in {where} ended with exit code {process.returncode}; run it by hand to see why."
            )
        return out.strip()

    return _once(where, command, resolve)


def _forget_lock() -> None:
    global _resolving
    _resolving = threading.Lock()


# A child that is forked while a thread resolves would wait for that thread for ever.
os.register_at_fork(after_in_child=_forget_lock)
