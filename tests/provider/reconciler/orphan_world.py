"""A task with a remote job of a service that records what is asked of it, in Airflow's own tables."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from provider.hooks.remote_job import Intent, JobStatus, RemoteJob
from provider.hooks.remote_service import ENTRY_POINT_GROUP, ForeignHandle, RemoteService, service_class
from provider.hooks.wait_budget import WaitBudget
from provider.reconciler import orphaned_jobs
from provider.reconciler.airflow_api import ApiReader
from provider.reconciler.airflow_database import DatabaseReader
from provider.reconciler.airflow_state import RunKey, read_airflow
from provider.reconciler.orphaned_jobs import OrphanedJobs

if TYPE_CHECKING:
    from tests.provider.reconciler.conftest import AirflowDatabase

KEY = ("sales", "b1")
JOB = {"id": "job-1", "url": "https://service/job-1"}
LONG_AGO = datetime.now(UTC) - timedelta(minutes=5)


class SetClock:
    """Time in :mod:`~provider.reconciler.orphaned_jobs`, as a test sets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = datetime.now(UTC)

        class Clock(datetime):
            @classmethod
            def now(_, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return self.now

        monkeypatch.setattr(orphaned_jobs, "datetime", Clock)


class RecordedJob(ForeignHandle):
    id: str
    url: str = ""


class RecordedIntent(ForeignHandle):
    since: str


class RecordingService(RemoteService[Any]):
    """A service of another package, which is this class."""

    name = "recording"
    noun = "recorded job"
    connection_fields = ("recording_conn_id", "identity")
    default_conn_name = "c"
    job_model = RecordedJob
    intent_model = RecordedIntent

    opened: ClassVar[list[dict[str, Any]]]
    cancelled: ClassVar[list[str]]
    answers: ClassVar[list[Any]]
    answer: ClassVar[Any]
    found: ClassVar[list[RemoteJob | None]]

    def __init__(self, *, budget: WaitBudget, **connection: Any) -> None:
        self.budget = budget
        self.opened.append(connection)

    def prepare(self, request: Any) -> Intent:
        raise NotImplementedError("the reconciler starts nothing")

    def start(self, request: Any, intent: Intent) -> RemoteJob:
        raise NotImplementedError("the reconciler starts nothing")

    def status(self, job: RemoteJob) -> JobStatus:
        if isinstance(self.answer, Exception):
            raise self.answer
        assert isinstance(self.answer, JobStatus)
        return self.answer

    def cancel(self, job: RemoteJob) -> None:
        self.cancelled.append(job["id"])
        if self.answers and (answer := self.answers.pop(0)):
            raise answer

    def find(self, intent: Intent) -> RemoteJob | None:
        assert intent == {"since": "then"}
        return self.found.pop(0)


RECORDED = {"name": "recording", "conn_id": "c"}


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the DAG of the task says of its operator."""
    parameters = {"recording_conn_id": "c", "identity": ["somebody"]}

    def of_task(_reader: object, key: RunKey, task_id: str) -> dict[str, Any] | None:
        return parameters or None if (key, task_id) == (KEY, "load") else None

    for reader in (DatabaseReader, ApiReader):
        monkeypatch.setattr(reader, "operator_of_task", of_task)
    return parameters


@pytest.fixture
def service(operator: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[RecordingService]]:
    kept = RecordingService
    kept.cancelled, kept.answers, kept.found, kept.opened = [], [], [], []
    kept.answer = JobStatus("running")
    point = EntryPoint("recording", f"{__name__}:RecordingService", ENTRY_POINT_GROUP)
    monkeypatch.setattr(point.__class__, "load", lambda self: kept)
    installed = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda **of: ([point] if of["name"] == "recording" else []) if of.get("group") == ENTRY_POINT_GROUP else installed(**of),
    )
    yield kept
    service_class.cache_clear()


@pytest.fixture
def airflow(airflow_database: AirflowDatabase) -> AirflowDatabase:
    airflow_database.run()
    return airflow_database


def ledger(airflow: AirflowDatabase, map_index: int = -1, task_id: str = "load", **values: Any) -> None:
    """Store what the task knows of its job."""
    from airflow.models.task_state_store import TaskStateStoreModel

    entry = {"job": JOB, "intent": None, "outcome": "running", "tries": {"1": JOB}, "service": RECORDED, **values}
    key = {"dag_id": "sales", "run_id": "b1", "task_id": task_id, "map_index": map_index, "dag_run_id": 1}
    airflow.insert(TaskStateStoreModel, **key, key="remote_job", value=json.dumps(entry), updated_at=LONG_AGO)


def audit(airflow: AirflowDatabase, event: str, at: datetime, **values: Any) -> None:
    """Write into Airflow's audit log; what a person does ends something unless ``extra`` says otherwise."""
    from airflow.models.log import Log

    if event.startswith("patch_"):
        values = {
            "map_index": None,
            "try_number": None,
            "extra": json.dumps({"state" if event == "patch_dag_run" else "new_state": "failed"}),
            **values,
        }
    key = {"dag_id": "sales", "run_id": "b1", "task_id": "load", "map_index": -1, "try_number": 1}
    airflow.insert(Log, dttm=at, event=event, **{**key, **values})


def look(jobs: OrphanedJobs, until: Callable[[], bool] | None = None) -> None:
    """Make passes as the reconciler does, until all work is done and ``until`` holds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with read_airflow() as airflow_state:
            runs = airflow_state.load_runs([KEY])
        jobs.look(runs.values())
        jobs.cancel_due()
        working = [future for _, future in jobs._working.values()]
        for future in working:
            future.exception(10)
        if not working and (until is None or until()):
            return
    raise AssertionError("time is up")
