"""What Airflow's API server writes of people, by its own code, and what is read from it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.log import Log
from airflow.utils.state import TaskInstanceState

from provider.airflow_internals import audit_log
from provider.airflow_internals.audit_log import ENDED_BY_AIRFLOW, PERSON_EVENTS, Entry, PersonAct, SchedulerEnd, read_acts

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)


def routes() -> dict[str, Any]:
    """Return the API server's functions that log, by name."""
    from airflow.api_fastapi.core_api.routes.public.dag_run import dag_run_at_dag_router, dag_run_router
    from airflow.api_fastapi.core_api.routes.public.task_instances import task_instances_router

    every: list[Any] = [*dag_run_router.routes, *dag_run_at_dag_router.routes, *task_instances_router.routes]
    logging = [route for route in every if any(one.dependency.__name__ == "log_action" for one in route.dependencies)]
    return {route.endpoint.__name__: route for route in logging}


def logged(event: str, body: dict[str, Any] | None, query: dict[str, str] | None = None, **path: str) -> Entry:
    """Let Airflow log a request of one route, and return what it has written."""
    route = routes()[event]
    (log_action,) = [one.dependency for one in route.dependencies if one.dependency.__name__ == "log_action"]
    written: list[Log] = []

    async def answer(value: Any) -> Any:
        return value

    request = SimpleNamespace(
        scope={"endpoint": route.endpoint},
        headers={"content-type": "application/json"} if body is not None else {},
        query_params=query or {},
        path_params=path,
        method=next(iter(route.methods)),
        body=lambda: answer(json.dumps(body).encode()),
        json=lambda: answer(body),
    )
    user = SimpleNamespace(get_name=lambda: "ann")
    asyncio.run(log_action(request, SimpleNamespace(add=written.append, commit=lambda: None), user))
    (log,) = written
    values = (log.event, log.owner, log.dag_id, log.run_id, log.task_id, log.map_index, log.try_number, log.extra)
    return Entry(AT, *values)


RUN = {"dag_id": "sales", "dag_run_id": "b1"}
TASK = {**RUN, "task_id": "load"}


def act(did: Any, **values: Any) -> PersonAct:
    return PersonAct(AT, "ann", did, "sales", **{"run_id": "b1", **values})


@pytest.mark.parametrize(
    ("event", "body", "path", "acts"),
    [
        ("patch_dag_run", {"state": "failed"}, RUN, [act("marked", state="failed")]),
        ("patch_dag_run", {"note": "see ticket 7"}, RUN, []),
        ("patch_dag_run", {"state": "queued"}, RUN, []),
        ("patch_task_instance", {"new_state": "SKIPPED"}, TASK, [act("marked", state="skipped", task_id="load")]),
        (
            "patch_task_instance",
            {"new_state": "failed"},
            {**TASK, "map_index": "2"},
            [act("marked", state="failed", task_id="load", map_index=2)],
        ),
        ("patch_task_instance", {"note": "it was me"}, TASK, []),
        (
            "patch_task_instance",
            {"new_state": "success", "include_downstream": True},
            TASK,
            [act("marked", state="success", task_id="load", wide=True)],
        ),
        (
            "patch_task_group_instances",
            {"new_state": "success"},
            {**RUN, "group_id": "loads"},
            [act("marked", state="success", wide=True)],
        ),
        ("clear_dag_run", {"dry_run": False}, RUN, [act("cleared")]),
        (
            "post_clear_task_instances",
            {"dry_run": False, "dag_run_id": "b1", "task_ids": ["load", ["many", 3]]},
            {"dag_id": "sales"},
            [act("cleared", task_id="load"), act("cleared", task_id="many", map_index=3)],
        ),
        (
            "post_clear_task_instances",
            {"dry_run": False, "dag_run_id": "b1", "only_failed": True},
            {"dag_id": "sales"},
            [act("cleared", wide=True)],
        ),
        ("delete_dag_run", None, RUN, [act("deleted")]),
        (
            "bulk_dag_runs",
            {
                "actions": [
                    {"action": "update", "entities": [{"dag_run_id": "b1", "state": "failed"}]},
                    {"action": "update", "entities": [{"dag_run_id": "b2", "note": "x"}]},
                    {"action": "delete", "entities": ["b3", {"dag_run_id": "b4", "dag_id": "sales"}]},
                ]
            },
            {"dag_id": "sales"},
            [act("marked", state="failed"), act("deleted", run_id="b3"), act("deleted", run_id="b4")],
        ),
        (
            "bulk_dag_runs",
            {"actions": [{"action": "update", "entities": [{"dag_run_id": "b1", "dag_id": "sales", "state": "success"}]}]},
            {"dag_id": "~"},
            [act("marked", state="success")],
        ),
        (
            "clear_dag_runs",
            {"dry_run": False, "dag_runs": [{"dag_run_id": "b1", "dag_id": "sales"}, {"dag_run_id": "b2", "dag_id": "sales"}]},
            {"dag_id": "~"},
            [act("cleared"), act("cleared", run_id="b2")],
        ),
        ("clear_dag_run_partitions", {"dry_run": False}, {"dag_id": "sales"}, [act("cleared", run_id=None)]),
    ],
)
def test_what_a_person_did_is_read_from_what_airflow_logs(
    event: str, body: dict[str, Any] | None, path: dict[str, str], acts: list[PersonAct]
) -> None:
    assert read_acts(logged(event, body, None, **path)) == acts


def test_a_field_that_is_not_in_the_update_mask_was_not_set() -> None:
    both = {"new_state": "failed", "note": "x"}
    assert read_acts(logged("patch_task_instance", both, {"update_mask": "note"}, **TASK)) == []
    assert read_acts(logged("patch_task_instance", both, {"update_mask": "new_state"}, **TASK)) != []


def test_the_events_of_people_are_all_that_log_and_change_a_run_or_a_task() -> None:
    reading = {"get_task_instances_batch", "trigger_dag_run"}
    assert set(routes()) - reading == PERSON_EVENTS


def test_a_mark_on_several_chosen_tasks_is_not_logged() -> None:
    """Where this fails Airflow has begun to log it: read it."""
    assert "bulk_task_instances" not in routes()


@pytest.mark.parametrize(
    "extra", [None, "", "no JSON", "[]", "7", '{"state": 7}', '{"state": ""}', '{"actions": 7}', "[" * 50_000, "x" * 2_000_000]
)
@pytest.mark.parametrize("event", sorted(PERSON_EVENTS - {"delete_dag_run", "clear_dag_run", "post_clear_task_instances"}))
def test_garbage_is_no_act(event: str, extra: str | None) -> None:
    acts = read_acts(Entry(AT, event, "ann", "sales", "b1", "load", None, None, extra))
    assert [one for one in acts if one.did != "cleared"] == []


@pytest.mark.parametrize(
    "actions",
    [
        [7, None, {"action": "update"}, {"action": "update", "entities": 7}],
        [{"action": "update", "entities": [None, 7, {"state": "failed"}, {"dag_run_id": 7, "state": "failed"}]}],
        [{"action": "create", "entities": [{"dag_run_id": "b1", "state": "failed"}]}],
    ],
)
def test_a_bulk_request_of_garbage_is_no_act(actions: Any) -> None:
    assert read_acts(Entry(AT, "bulk_dag_runs", "ann", "sales", None, None, None, None, json.dumps({"actions": actions}))) == []


def test_what_an_act_reaches() -> None:
    assert act("marked", task_id="load", map_index=2).reaches("load", 2)
    assert not act("marked", task_id="load", map_index=2).reaches("load", 1)
    assert not act("marked", task_id="load").reaches("stage", -1)
    assert act("marked", task_id="load", wide=True).reaches("stage", -1)
    assert act("marked").reaches("stage", -1)


def test_what_ends_a_task_is_a_state_or_said_by_fail_fast() -> None:
    states = {state.value for state in TaskInstanceState}
    assert set(ENDED_BY_AIRFLOW) - states == {"fail task", "skip task"}
    assert {"success", "failed", "skipped", "upstream_failed"} < states


def test_airflow_writes_the_events_that_we_read() -> None:
    assert audit_log.problems() == []


def test_an_airflow_that_writes_other_events_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "_WRITTEN_BY", {"models/taskinstance.py": ("event=other",), "models/gone.py": ("x",)})
    assert [problem.partition(";")[0] for problem in audit_log.problems()] == [
        "models/taskinstance.py does not say 'event=other'",
        "models/gone.py does not say 'x'",
    ]


# The entries of several runs.


def entry(event: str, **values: Any) -> Entry:
    row = {
        "owner": "ann",
        "dag_id": "sales",
        "run_id": "b1",
        "task_id": "load",
        "map_index": None,
        "try_number": 1,
        "extra": None,
    }
    return Entry(at=AT, event=event, **{**row, **values})


def test_acts_are_sorted_by_their_runs_in_the_order_of_the_entries() -> None:
    several = [{"dag_run_id": "b2", "dag_id": "sales"}, {"dag_run_id": "b1", "dag_id": "other"}, {"dag_run_id": "b3"}]
    entries = [
        entry("delete_dag_run", owner="bob"),
        entry("clear_dag_runs", run_id=None, extra=json.dumps({"dag_runs": several})),
        entry("clear_dag_run_partitions", run_id=None),
        entry("success"),
        entry("delete_dag_run", dag_id="other"),
        entry("clear_dag_run"),
        entry("delete_dag_run", run_id="b2", owner=None),
    ]
    assert audit_log.acts_of_runs(entries, "sales", ["b1", "b2"]) == {
        "b1": (replace(act("deleted"), person="bob"), act("cleared")),
        "b2": (act("cleared", run_id="b2"), replace(act("deleted", run_id="b2"), person="somebody")),
    }


@pytest.mark.parametrize("dag_id", [None, "~"])
def test_what_was_done_to_no_dag_in_particular_is_no_act(dag_id: str | None) -> None:
    assert read_acts(entry("delete_dag_run", dag_id=dag_id)) == []
    several = json.dumps({"dag_runs": [{"dag_run_id": "b1"}, {"dag_run_id": "b2", "dag_id": "sales"}]})
    assert read_acts(entry("clear_dag_runs", dag_id=dag_id, extra=several)) == [act("cleared", run_id="b2")]


@pytest.mark.parametrize("tasks", [[], None, [7], [[]], [["load", 1, 2]], [None]])
def test_a_clear_that_names_no_task_may_have_reached_each(tasks: Any) -> None:
    acts = read_acts(entry("post_clear_task_instances", extra=json.dumps({"task_ids": tasks})))
    assert [(one.task_id, one.map_index, one.reaches("stage", 3)) for one in acts] == [(None, None, True)]


@pytest.mark.parametrize("around", ["upstream", "downstream", "future", "past"])
def test_a_request_for_what_is_around_is_a_wide_one(around: str) -> None:
    mark = {"new_state": "failed", f"include_{around}": True}
    assert [one.wide for one in read_acts(entry("patch_task_instance", extra=json.dumps(mark)))] == [True]
    clear = {"task_ids": ["load"], f"include_{around}": True}
    assert [one.wide for one in read_acts(entry("post_clear_task_instances", extra=json.dumps(clear)))] == [True]
    clear[f"include_{around}"] = False
    assert [one.wide for one in read_acts(entry("post_clear_task_instances", extra=json.dumps(clear)))] == [False]


@pytest.mark.parametrize(
    ("map_index", "read"), [(3, 3), ("3", 3), (0, 0), (None, None), (True, None), ("x", None), ([1], None), ({}, None)]
)
def test_a_map_index_is_a_number(map_index: Any, read: int | None) -> None:
    (mark,) = read_acts(entry("patch_task_instance", extra=json.dumps({"new_state": "failed", "map_index": map_index})))
    assert (mark.map_index, mark.map_index.__class__) == (read, read.__class__)


@pytest.mark.parametrize(
    ("mask", "counts"),
    [(None, True), (["state"], True), (["note", "state"], True), (["note"], False), ("state", True), (7, False)],
)
def test_a_bulk_request_sets_what_its_mask_names(mask: Any, counts: bool) -> None:
    action = {"action": "update", "update_mask": mask, "entities": [{"dag_run_id": "b1", "state": "failed"}]}
    acts = read_acts(entry("bulk_dag_runs", run_id=None, extra=json.dumps({"actions": [action]})))
    assert acts == ([act("marked", state="failed")] if counts else [])


def test_a_mark_of_a_run_that_is_not_named_is_no_act() -> None:
    assert read_acts(entry("patch_dag_run", run_id=None, extra='{"state": "failed"}')) == []
    nameless = {"actions": [{"action": "delete", "entities": [{"dag_id": "sales"}, "b2"]}]}
    assert read_acts(entry("bulk_dag_runs", run_id=None, extra=json.dumps(nameless))) == [act("deleted", run_id="b2")]


def test_garbage_among_what_makes_sense_hides_nothing() -> None:
    actions = [7, {"action": "update", "entities": [7, None, {"dag_run_id": "b1", "state": "failed"}]}]
    assert read_acts(entry("bulk_dag_runs", run_id=None, extra=json.dumps({"actions": actions}))) == [
        act("marked", state="failed")
    ]


def test_a_body_is_read_up_to_a_million_characters() -> None:
    body = '{"state": "failed", "note": "%s"}'
    longest = body % ("x" * (1_000_000 - len(body) + 2))
    assert len(longest) == 1_000_000
    assert read_acts(entry("patch_dag_run", extra=longest)) == [act("marked", state="failed")]
    assert read_acts(entry("patch_dag_run", extra=f"{longest} ")) == []


def test_what_the_scheduler_ended_is_found_by_its_try() -> None:
    entries = [
        entry("heartbeat timeout", run_id=None),
        entry("heartbeat timeout", task_id=None),
        entry("heartbeat timeout", try_number=None),
        entry("success"),
        entry("heartbeat timeout", extra="no sign of life"),
        entry("state mismatch", try_number=2, map_index=3, extra=""),
        entry("stuck in queued tries exceeded", run_id="b2", extra="too long"),
        entry("fail task", run_id="b2", task_id="stage"),
        entry("skip task", run_id="b2", task_id="other", map_index=0),
    ]
    assert audit_log.ends_by_scheduler(entries) == {
        "b1": {
            ("load", -1, 1): SchedulerEnd("heartbeat", "no sign of life"),
            ("load", 3, 2): SchedulerEnd("killed", "state mismatch"),
        },
        "b2": {
            ("load", -1, 1): SchedulerEnd("scheduler", "too long"),
            ("stage", -1, 1): SchedulerEnd("scheduler", "fail task"),
            ("other", 0, 1): SchedulerEnd("scheduler", "skip task"),
        },
    }
