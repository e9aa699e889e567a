"""Services by their names, what they take of recorded handles, and their calls from an event loop."""

from __future__ import annotations

import importlib.metadata
import threading
from datetime import datetime
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from provider.exceptions import ConfigurationError
from provider.hooks import remote_service
from provider.hooks.remote_job import JobStatus, RemoteCallError
from provider.hooks.remote_service import (
    ENTRY_POINT_GROUP,
    ForeignHandle,
    RemoteService,
    connection_key,
    open_service,
    service_class,
)
from provider.hooks.wait_budget import WaitBudget

JOB = {"id": "job-1", "url": "https://example.com/1"}
INTENT = {"marker": "ours"}


class Handle(ForeignHandle):
    id: str
    url: str
    page: int = 1


class Marker(ForeignHandle):
    marker: str


class Jobs(RemoteService[Any]):
    """Notes what it is asked, and in which thread."""

    name = "acme_jobs"
    noun = "Acme job"
    connection_fields: ClassVar[tuple[str, ...]] = ("conn_id", "act_as")
    job_model: ClassVar[type[ForeignHandle]] = Handle
    intent_model = Marker

    def __init__(self, conn_id: str, budget: WaitBudget, act_as: Any = None) -> None:
        self.conn_id, self.act_as, self.budget = conn_id, act_as, budget
        self.asked: list[Any] = []
        self.connected = False

    def connect(self) -> None:
        self.connected = True

    def prepare(self, request: Any) -> Any:
        raise NotImplementedError

    def start(self, request: Any, intent: Any) -> Any:
        raise NotImplementedError

    def find(self, intent: Any) -> Any:
        self.asked.append(("find", intent, threading.current_thread().name))
        return JOB

    def status(self, job: Any) -> JobStatus:
        self.asked.append(("status", job, threading.current_thread().name))
        return JobStatus("done")

    def cancel(self, job: Any) -> None:
        self.asked.append(("cancel", job, threading.current_thread().name))


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What other packages offer, by name."""
    offered: dict[str, list[Any]] = {}

    def found(*, group: str, name: str) -> list[Any]:
        assert group == ENTRY_POINT_GROUP == "airflow_provider_cloud_accelerator.remote_services"
        return [SimpleNamespace(load=lambda value=value: value) for value in offered.get(name, [])]

    monkeypatch.setattr(importlib.metadata, "entry_points", found)
    service_class.cache_clear()
    return offered


async def test_calls_from_an_event_loop_are_made_in_a_thread_named_after_the_service():
    service = Jobs("c", WaitBudget())

    assert await service.afind(INTENT) == JOB
    assert (await service.astatus(JOB)).state == "done"
    await service.acancel(JOB)

    thread = "accelerator-acme_jobs"
    assert [(call, value, name[: len(thread)]) for call, value, name in service.asked] == [
        ("find", INTENT, thread),
        ("status", JOB, thread),
        ("cancel", JOB, thread),
    ]


async def test_call_that_never_returns_is_given_up_after_twice_its_time(monkeypatch):
    asked: list[float] = []

    async def awithin(seconds: float, call: Any, thread_name: str) -> Any:
        asked.append(seconds)
        raise TimeoutError("no answer within 14 seconds")

    monkeypatch.setattr(remote_service, "awithin", awithin)
    with pytest.raises(RemoteCallError, match=r"^Acme job: the service gave no answer within 14 seconds\.$") as error:
        await Jobs("c", WaitBudget(call=7.0)).astatus(JOB)

    assert asked == [14.0]
    assert error.value.retryable


def test_handle_is_what_its_service_knows_of_it_and_nothing_else():
    assert Jobs.check_job({**JOB, "host": "evil.example"}) == JOB
    assert Jobs.check_job({**JOB, "page": 7}) == {**JOB, "page": 7}
    assert Jobs.check_intent({**INTENT, "accepted": True}) == INTENT


def test_handle_is_plain_json_whatever_its_model_reads():
    class Dated(ForeignHandle):
        since: datetime

    class Others(Jobs):
        job_model = Dated

    assert Others.check_job({"since": "2026-03-16T04:00:00Z"}) == {"since": "2026-03-16T04:00:00Z"}


def test_wrong_handle_is_refused_with_up_to_three_reasons():
    with pytest.raises(ConfigurationError, match=r"^The recorded Acme job is not what this service records: id: .*; url: .*\.$"):
        Jobs.check_job({})
    with pytest.raises(ConfigurationError, match=r"^The recorded intent to start a Acme job is not what"):
        Jobs.check_intent({"marker": 7})


def test_only_three_reasons_are_named():
    class Parts(ForeignHandle):
        a: str
        b: str
        c: str
        d: str

    class Others(Jobs):
        job_model = Parts

    with pytest.raises(ConfigurationError) as refusal:
        Others.check_job({})
    assert str(refusal.value).count("Field required") == 3


def test_reason_names_the_place_and_hides_the_value():
    class Inner(ForeignHandle):
        number: int

    class Outer(ForeignHandle):
        inner: Inner

    class Others(Jobs):
        job_model = Outer

    with pytest.raises(ConfigurationError, match=r"records: inner\.number: ") as refusal:
        Others.check_job({"inner": {"number": "secret"}})
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "cls"), [("dataform", "DataformInvocationHook"), ("powerbi", "PowerBIHook"), ("bigquery", "BigQueryJobHook")]
)
def test_services_of_this_package_are_known_by_name(name, cls):
    found = service_class(name)

    assert (found.__name__, found.name) == (cls, name)


def test_service_of_another_package_is_found_by_its_entry_point(entry_points):
    entry_points["acme_jobs"] = ["no class", int, Jobs]

    assert service_class("acme_jobs") is Jobs


def test_class_of_another_name_is_not_taken_for_the_service(entry_points):
    entry_points["other"] = [Jobs]

    with pytest.raises(ConfigurationError, match=r"^No remote service is called 'other' here; is the package .* installed"):
        service_class("other")


def test_opened_service_has_its_connection_and_its_budget(entry_points):
    entry_points["acme_jobs"] = [Jobs]
    budget = WaitBudget(call=7.0)

    service = open_service("acme_jobs", {"conn_id": "c", "act_as": ["a"]}, budget)

    assert isinstance(service, Jobs)
    assert (service.conn_id, service.act_as, service.budget, service.connected) == ("c", ["a"], budget, True)


def test_connection_as_a_key_does_not_depend_on_its_order_and_takes_lists():
    assert connection_key({"b": ["x", "y"], "a": "text", "c": None}) == (("a", "text"), ("b", ("x", "y")), ("c", None))
    assert hash(connection_key({"act_as": ["x"], "conn_id": "c"})) == hash(connection_key({"conn_id": "c", "act_as": ["x"]}))
