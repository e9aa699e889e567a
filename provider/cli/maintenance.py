"""
The actions of the DAG ``accelerator_maintenance``: commands, for where there is no shell.

Each is carried out by the command line's own function, so the task's log has what a terminal would have. What a person
enters becomes arguments of that function and nothing else: it is neither evaluated nor given to a shell.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from provider import settings
from provider.cli.main import console
from provider.exceptions import AcceleratorError, ConfigurationError
from provider.input_files import MAX_BYTES
from provider.texts import quoted

#: The action whose failure may be that of a database that is away for a moment: Airflow may try it again.
UPGRADE = "db upgrade"
DOCTOR = "doctor"

_BUCKET = "gs://"
#: How names of files of workflows end.
_DEFINITIONS = (".yaml", ".yml", ".json")
#: Time of one call to Cloud Storage, in seconds.
_CALL_SECONDS = 60.0

Params = Mapping[str, Any]


def form() -> dict[str, Param]:
    """Return the fields of the form of the DAG's trigger, which Airflow checks by their JSON schemas."""
    return {
        "action": Param(UPGRADE, type="string", enum=list(ACTIONS), description="What to do: the command of the same name."),
        "file": Param(
            "",
            type="string",
            maxLength=1024,
            pattern=r"^[^\x00-\x1f]*$",
            description="import, alerts load, validate: a YAML or JSON file, as gs://bucket/object or a path of the workers.",
        ),
        "text": Param(
            "", type="string", format="multiline", maxLength=1_000_000, description="import, alerts load, validate: YAML instead."
        ),
        "prune": Param(False, type="boolean", description="import, alerts load: also delete what the file does not have."),
        "dry_run": Param(False, type="boolean", description="import, alerts load, db clean: only show what would happen."),
        "request_ids": Param(
            [],
            type="array",
            items={"type": "integer", "minimum": 1},
            maxItems=1000,
            description="requests retry: one id a line.",
        ),
        "to": Param(None, type=["null", "string"], maxLength=50, description="db downgrade: the schema of an earlier version."),
        "yes": Param(False, type="boolean", description="db downgrade: lose what the log of a run without this lists."),
        "before": Param(None, type=["null", "string"], format="date", description="db clean: what ended before this day."),
    }


def carry_out(params: Params, token: str) -> None:
    """
    Carry out an action.

    :param params: see :func:`form`.
    :param token: what :func:`leave_token` was given.
    :raises AirflowFailException: the command would have ended with another exit code than 0, or something is missing.
    """
    action = params["action"]
    try:
        with ACTIONS[action](params, token) as arguments:
            code = _run(arguments)
    except AcceleratorError as error:
        raise AirflowFailException(str(error)) from error
    if code:
        kind = AirflowException if action == UPGRADE else AirflowFailException
        raise kind(f"accelerator {action} ended with exit code {code}; the lines above say why.")


def leave_token(params: Params, token: str) -> bool:
    """
    Leave the token that the doctor looks for, in the process of another task.

    :return: whether there was something to do.
    :raises AirflowFailException: the database did not take it.
    """
    if params["action"] != DOCTOR:
        return False
    if _run(["doctor", f"--leave={token}"]):
        raise AirflowFailException("The token was not stored; the doctor says more.")
    return True


def _run(arguments: list[str]) -> int:
    try:
        return console(arguments)
    except SystemExit as wrong_usage:  # to Airflow it would be a process that went away
        return int(wrong_usage.code or 0)


@contextlib.contextmanager
def _upgrade(_: Params, __: str) -> Iterator[list[str]]:
    yield ["db", "upgrade"]


@contextlib.contextmanager
def _downgrade(params: Params, _: str) -> Iterator[list[str]]:
    if not params["to"]:
        raise ConfigurationError("The action db downgrade needs `to`; give the schema of the earlier version.")
    yield ["db", "downgrade", f"--to={params['to']}", *(["--yes"] if params["yes"] else [])]


@contextlib.contextmanager
def _import(params: Params, _: str) -> Iterator[list[str]]:
    options = [f"--{name.replace('_', '-')}" for name in ("prune", "dry_run") if params[name]]
    with _file(params) as file:
        if file is None:
            raise ConfigurationError(f"The action {params['action']} needs `file` or `text`; give one of them.")
        yield [*params["action"].split(), *options, "--", file]


@contextlib.contextmanager
def _validate(params: Params, _: str) -> Iterator[list[str]]:
    with _file(params) as file:
        yield ["validate"] if file is None else ["validate", "--", file]


@contextlib.contextmanager
def _reconcile_check(_: Params, __: str) -> Iterator[list[str]]:
    yield ["reconcile", "--check"]


@contextlib.contextmanager
def _retry(params: Params, _: str) -> Iterator[list[str]]:
    yield ["requests", "retry", "--", *(str(number) for number in params["request_ids"])]


@contextlib.contextmanager
def _clean(params: Params, _: str) -> Iterator[list[str]]:
    if not params["before"]:
        raise ConfigurationError("The action db clean needs `before`; give a day.")
    yield ["db", "clean", f"--before={params['before']}", *(["--dry-run"] if params["dry_run"] else [])]


@contextlib.contextmanager
def _doctor(_: Params, token: str) -> Iterator[list[str]]:
    yield ["doctor", f"--expect={token}"]


#: Action → the arguments of the command, as long as their file is there.
ACTIONS: dict[str, Callable[[Params, str], contextlib.AbstractContextManager[list[str]]]] = {
    UPGRADE: _upgrade,
    "db downgrade": _downgrade,
    "import": _import,
    "alerts load": _import,
    "validate": _validate,
    "reconcile --check": _reconcile_check,
    "requests retry": _retry,
    "db clean": _clean,
    DOCTOR: _doctor,
}


@contextlib.contextmanager
def _file(params: Params) -> Iterator[str | None]:
    """Yield the path of the file that is meant; None where none is."""
    file, text = params["file"], params["text"]
    if file and text:
        raise ConfigurationError("Both `file` and `text` are given; give one of them.")
    if file and not file.startswith(_BUCKET) and not file.endswith(_DEFINITIONS):
        # Messages about a file quote it: whoever may trigger the DAG is to see no other files of the worker.
        raise ConfigurationError(f"{quoted(file)} is no file of workflows: its name ends with one of {', '.join(_DEFINITIONS)}.")
    if not text and not file.startswith(_BUCKET):
        yield file or None
        return
    with tempfile.TemporaryDirectory(prefix="accelerator-") as folder:
        path = Path(folder) / (file.rpartition("/")[2] if file else "text.yaml")
        path.write_bytes(text.encode() if text else _download(file))
        yield str(path)


def _download(address: str) -> bytes:
    """Return an object of Cloud Storage, of which no more is read than a command reads of a file."""
    from airflow.providers.google.cloud.hooks.gcs import GCSHook
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    bucket, _, name = address.removeprefix(_BUCKET).partition("/")
    if not bucket or not name or name.endswith("/"):
        raise ConfigurationError(f"{address} names no object; write gs://bucket/object.")
    try:
        blob = GCSHook(gcp_conn_id=settings.get("gcp_conn_id")).get_conn().bucket(bucket).blob(name)
        content: bytes = blob.download_as_bytes(end=MAX_BYTES, timeout=_CALL_SECONDS, retry=None)
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise ConfigurationError(f"{address} cannot be read ({type(error).__name__}: {error}).") from error
    return content
