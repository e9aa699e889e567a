from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from sqlalchemy import text

from provider.cli import batch_wait
from provider.metadata.engine import write_session
from tests.provider.cli.workflow_files import task_of, workflow_of
from tests.provider.hooks.airflow_api_server import Answer, Server

CONFIG = {"workspace": "{{ params.country | upper }} {{ batch_id }}", "semantic_model": "Daily Sales"}
PARAMS = [{"name": "country", "default": "de"}, {"name": "days", "type": "integer", "default": 1, "maximum": 7}]
PARAMS += [{"name": "api_key", "default": "none"}]


@pytest.fixture(autouse=True)
def _stored(accelerator, application_database: str, write) -> None:
    tasks = (task_of("a", config=CONFIG), task_of("b", "a"), task_of("c", "b"), task_of("d", "a", config=CONFIG))
    ran = accelerator("import", write(workflow_of("one", *tasks, params=PARAMS), workflow_of("two", task_of("x"))))
    assert ran.code == 0, ran.err


def test_a_batch_is_started_as_a_message_would(accelerator, server: Server) -> None:
    ran = accelerator(
        "run", "one", "--from", "b", "d", "--param", "country=at", "--param", "days=3", "--batch-id", "B 1".replace(" ", "~")
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"Batch B~1 of one is started: {server.address}/dags/one/runs/B~1/plugin/task-batch\n"
    assert [asked[:2] for asked in server.asked] == [("GET", "/api/v2/dags/one"), ("POST", "/api/v2/dags/one/dagRuns")]
    body = server.asked[1][4]
    conf = {"country": "at", "days": 3, "scope": "downstream", "start_task_id": ["b", "d"]}
    assert body == {"dag_run_id": "B~1", "logical_date": None, "conf": conf}


def test_the_whole_workflow_gets_an_id_of_its_own(accelerator, server: Server) -> None:
    assert accelerator("run", "one").code == accelerator("run", "one").code == 0
    first, second = (asked[4] for asked in server.asked if asked[0] == "POST")
    assert first["dag_run_id"] != second["dag_run_id"]
    assert first["conf"] == {"scope": "workflow"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["oen"], "there is no workflow oen; did you mean one? stored are: one, two."),
        (["one", "--only", "x"], "workflow one has no task x; its tasks are: a, b, c, d."),
        (["one", "--from", "a", "--only", "b"], "give --from or --only, not both."),
        (["one", "--batch-id", "a/b"], "batch_id 'a/b' cannot be a run id; use "),
        (["one", "--param", "scope=task"], "params may not set scope: the message has task_id and scope for that."),
        (["one", "--param", "days"], "--param 'days' is no NAME=VALUE."),
    ],
)
@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_what_cannot_be_started(accelerator, server: Server, arguments: list[str], said: str, option: list[str]) -> None:
    ran = accelerator("run", *arguments, *option)
    assert ran.code == 1
    assert ran.err.startswith(f"error: {said}")
    assert not server.asked


def test_what_airflow_refuses_is_said_without_secrets(accelerator, server: Server) -> None:
    refusal = {"detail": "Invalid input for param days: 'hunter3' is not\nof type 'integer'"}
    server.answer = lambda path, _query: (400 if path.endswith("dagRuns") else 200, refusal)
    ran = accelerator("run", "one", "--param", "days=x", "--param", "api_key=hunter3")
    assert ran.code == 1
    assert ran.err == (
        "error: Airflow refuses the run: Invalid input for param days (the rest may quote a secret); nothing was started.\n"
    )
    server.answer = lambda path, _query: (409 if path.endswith("dagRuns") else 200, {"detail": "there is one"})
    ran = accelerator("run", "one", "--batch-id", "B1")
    assert ran.err == "error: batch B1 of one exists already; give another --batch-id.\n"
    assert ran.code == 1


@pytest.mark.parametrize(("status", "known"), [(500, False), (503, False), (403, True), (404, True)])
def test_only_what_airflow_refuses_is_said_not_to_be_started(accelerator, server: Server, status: int, known: bool) -> None:
    server.answer = lambda path, _query: (status if path.endswith("dagRuns") else 200, {"detail": "no"})
    ran = accelerator("run", "one", "--batch-id", "B1")
    assert ran.code == 1
    assert ran.err.startswith("error: it is not known whether batch B1 was started: ") is not known
    assert ran.err.endswith("; nothing was started.\n") is known


def test_a_workflow_that_airflow_has_not_seen_yet(accelerator, server: Server) -> None:
    server.answer = lambda _path, _query: (404, {"detail": "The Dag with ID: `one` was not found"})
    ran = accelerator("run", "one")
    assert ran.code == 1
    assert ran.err.startswith("error: Airflow has no DAG one yet, so nothing was started. It sees what was imported within ")
    assert [asked[0] for asked in server.asked] == ["GET"]


def test_nothing_is_started_where_airflow_does_not_say_what_it_has(accelerator, server: Server) -> None:
    server.answer = lambda _path, _query: (500, {"detail": "no"})
    ran = accelerator("run", "one")
    assert ran.code == 1
    assert ran.err.startswith("error: Airflow GET /api/v2/dags/one answered 500")
    assert ran.err.endswith(" Nothing was started.\n")
    assert {asked[0] for asked in server.asked} == {"GET"}


def test_a_batch_of_a_paused_workflow_waits(accelerator, server: Server) -> None:
    server.answer = lambda path, _query: (200, {} if path.endswith("dagRuns") else {"dag_id": "one", "is_paused": True})
    ran = accelerator("run", "one")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("\nIt waits, since one is paused: `accelerator resume one` lets it go on.\n")


@pytest.fixture
def _no_calls(server: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fail where a connection is opened to anything but the application database."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX or (isinstance(address, tuple) and address[1] == _database_port()):
            return connect(self, address)
        raise AssertionError(f"{address} was called")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert not server.asked
    assert not server.tokens


def _database_port() -> int | None:
    from provider.metadata.engine import get_engine

    return get_engine().url.port


@pytest.mark.usefixtures("_no_calls")
def test_a_dry_run_shows_everything_and_calls_nothing(accelerator) -> None:
    with write_session() as session:
        session.execute(text("UPDATE tasks SET enabled = false WHERE task_id = 'b'"))
        session.execute(text("UPDATE workflows SET enabled = false WHERE workflow_id = 'one'"))
    ran = accelerator("run", "one", "--from", "a", "--param", "country=at", "--batch-id", "B1", "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    plan, a, d, end = ran.out.split("\n\n")
    assert plan.splitlines() == [
        "Batch B1 of one would run 2 of 4 tasks.",
        "The workflow is disabled: a message would wait, this start would not.",
        "1. a",
        "2. d",
        "skipped  why",
        "b        the task is disabled",
        "c        parent skipped: b",
    ]
    for task_id, shown in (("a", a), ("d", d)):
        first, _, config = shown.partition("\n")
        assert first == f"{task_id}: power_bi_refresh by connection powerbi_default"
        assert json.loads(config) == {"workspace": "AT B1", "semantic_model": "Daily Sales"}
    assert end.endswith("Nothing was started (dry run).\n")


@pytest.mark.usefixtures("_no_calls")
def test_a_dry_run_knows_which_conditions_hold(accelerator, write) -> None:
    conditions = ("params.country == 'at'", "params.country == 'de'", "params.country > 7")
    tasks = (task_of(f"c{number}", config=CONFIG, run_if=said) for number, said in enumerate(conditions))
    params = [{"name": "country", "default": "at"}]
    assert accelerator("import", write(workflow_of("four", *tasks, task_of("e", "c1"), params=params))).code == 0
    plan, *shown, _ = accelerator("run", "four", "--dry-run").out.split("\n\n")
    assert plan.splitlines()[1:] == [
        "1. c0, c2",
        "skipped  why",
        "c1       run_if does not hold: params.country == 'de'",
        "e        parent skipped: c1",
    ]
    assert shown[1].startswith("c2 cannot be rendered, and would fail: AirflowFailException: run_if (params.country > 7) cannot")


@pytest.mark.usefixtures("_no_calls")
def test_a_dry_run_shows_the_first_instances(accelerator, write) -> None:
    config = {"workspace": "{{ item }}", "semantic_model": "{{ item | lower }}_{{ task_id }}"}
    many = task_of("many") | {"task_type": "power_bi_refresh", "config": config, "expand": [f"Sales{n}" for n in range(7)]}
    accelerator("import", write(workflow_of("sales", many)))
    out = accelerator("run", "sales", "--dry-run").out
    assert "Batch" in out.splitlines()[0]
    assert [line for line in out.splitlines() if line.startswith("many[")] == [
        f"many[{n}]: power_bi_refresh by connection powerbi_default" for n in range(5)
    ]
    assert '"semantic_model": "sales4_many"' in out
    assert "Of a task that is expanded, the first 5 instances are shown.\n" in out


@pytest.mark.usefixtures("_no_calls")
def test_a_dry_run_refuses_params_as_airflow_does(accelerator) -> None:
    ran = accelerator("run", "one", "--param", "days=9", "--dry-run")
    assert ran.code == 1
    assert ran.err.startswith("error: Airflow refuses the run: Invalid input for param days: 9 is greater than the maximum of 7")
    assert ran.err.endswith("; nothing was started.\n")
    assert ran.out == ""


@pytest.mark.usefixtures("_no_calls")
def test_a_dry_run_shows_no_secret(accelerator, write) -> None:
    config = {"workspace": "Sales", "semantic_model": "{{ params.api_key }}"}
    params = [{"name": "api_key", "default": "none"}]
    assert accelerator("import", write(workflow_of("three", task_of("s", config=config), params=params))).code == 0
    ran = accelerator("run", "three", "--param", "api_key=hunter3\x1b", "--dry-run")
    assert ran.code == 0
    assert "hunter3" not in ran.out
    assert "\x1b" not in ran.out


class Run:
    """A run that goes one step further with each look: (state of the run, states of the tasks)."""

    def __init__(self, *steps: tuple[str, dict[str, str]] | Answer) -> None:
        self.steps, self.now = list(steps), 0

    def __call__(self, path: str, _query: Any) -> Answer:
        step = self.steps[min(self.now, len(self.steps) - 1)]
        if isinstance(step[0], int):
            self.now += 1
            return step[0], step[1]
        if path.endswith("/taskInstances"):
            self.now += 1
            times = {"start_date": "2026-03-16T04:00:00Z", "end_date": "2026-03-16T04:01:30+00:00"}
            found = [{"task_id": name, "map_index": -1, "state": state, **times} for name, state in step[1].items()]
            return 200, {"task_instances": found, "total_entries": len(found)}
        return 200, {"state": step[0]}


@pytest.fixture
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_wait.wait_for_end, "__kwdefaults__", {"pause": 0.0})


@pytest.mark.usefixtures("_no_pause")
@pytest.mark.parametrize(("state", "code", "status"), [("success", 0, "SUCCESS"), ("failed", 1, "ERROR")])
def test_it_waits_for_the_end_and_tells_of_tasks_as_they_end(
    accelerator, server: Server, state: str, code: int, status: str
) -> None:
    server.answer = Run(
        ("queued", {}),
        ("running", {"start_batch": "success", "a": "running"}),
        (503, {"detail": "not now"}),
        ("running", {"start_batch": "success", "a": "success", "b": "up_for_retry"}),
        (state, {"start_batch": "success", "a": "success", "b": state, "c": "skipped", "batch_watcher": "skipped"}),
    )
    ran = accelerator("run", "one", "--batch-id", "B1", "--wait")
    assert (ran.code, ran.err) == (code, "")
    assert ran.out.splitlines()[1:] == [
        "SUCCESS  a (1m 30s)",
        f"{status:<8} b (1m 30s)",
        "SKIPPED  c (1m 30s)",
        f"Batch B1 of one: {status}; `accelerator logs B1` says more.",
    ]


@pytest.mark.usefixtures("_no_pause")
def test_it_waits_for_so_long_and_no_longer(accelerator, server: Server) -> None:
    server.answer = Run(("running", {"a": "running"}))
    ran = accelerator("run", "one", "--batch-id", "B1", "--wait", "--timeout", "1")
    assert ran.code == 1
    assert ran.err == "error: batch B1 of one has not ended within 1 s; it goes on.\n"


@pytest.mark.usefixtures("_no_pause")
def test_a_refusal_ends_the_wait(accelerator, server: Server) -> None:
    server.answer = lambda path, _query: (403, {"detail": "no"}) if path.endswith("B1") else (200, {})
    ran = accelerator("run", "one", "--batch-id", "B1", "--wait")
    assert ran.code == 1
    assert "Airflow GET /api/v2/dags/one/dagRuns/B1 answered 403: " in ran.err
