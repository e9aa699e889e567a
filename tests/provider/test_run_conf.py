"""What the conf of a run may carry, and what is read out of it."""

from __future__ import annotations

import json
from typing import Any

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider import run_conf
from provider.exceptions import RunConfError
from provider.run_conf import Origin, downstream_of, requested_scope
from tests.provider.run_conf_cases import EDGES, WRONG_WISHES


class TestRequestedScope:
    def test_without_a_start_the_whole_workflow_runs(self) -> None:
        scope = requested_scope({}, EDGES)
        assert (scope.start_task_ids, scope.scope, scope.task_ids) == (None, "workflow", None)

    def test_a_start_means_everything_downstream_of_it(self) -> None:
        scope = requested_scope({"start_task_id": "stg_orders"}, EDGES)
        assert (scope.scope, scope.task_ids) == ("downstream", ["mail", "refresh", "stg_orders"])

    def test_task_means_the_named_tasks_alone(self) -> None:
        assert requested_scope({"start_task_id": ["mail", "archive"], "scope": "task"}, EDGES).task_ids == ["archive", "mail"]

    def test_workflow_runs_everything_and_remembers_where_it_was_started(self) -> None:
        scope = requested_scope({"start_task_id": "stg_orders", "scope": "workflow"}, EDGES)
        assert (scope.start_task_ids, scope.task_ids) == (["stg_orders"], None)

    @pytest.mark.parametrize(("wish", "text"), WRONG_WISHES)
    def test_a_wrong_wish_is_refused_with_what_would_be_right(self, wish: dict[str, Any], text: str) -> None:
        with pytest.raises(RunConfError, match=text):
            requested_scope(wish, EDGES)

    def test_a_huge_wrong_wish_makes_a_short_message(self) -> None:
        with pytest.raises(RunConfError) as refused:
            requested_scope({"start_task_id": "x" * 100_000}, {f"task_{n}": [] for n in range(5_000)})
        assert len(str(refused.value)) < 1_000

    @given(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40), st.sets(st.integers(0, 12), min_size=1))
    def test_downstream_is_what_a_graph_library_says(self, pairs: set[tuple[int, int]], starts: set[int]) -> None:
        graph = networkx.DiGraph((str(a), str(b)) for a, b in pairs)
        graph.add_nodes_from(map(str, range(13)))
        edges = {node: list(graph.successors(node)) for node in graph}
        expected = {str(s) for s in starts}.union(*(networkx.descendants(graph, str(s)) for s in starts))
        assert sorted(downstream_of([str(s) for s in starts], edges)) == sorted(expected)


@pytest.mark.parametrize(
    ("run_type", "triggered_by", "by_message", "source"),
    [
        ("operator_triggered", "operator", True, "message"),
        ("operator_triggered", "operator", False, "dag"),
        ("manual", "ui", False, "ui"),
        ("manual", "rest_api", False, "api"),
        ("manual", "cli", False, "cli"),
        ("manual", "test", False, "test"),
        ("manual", None, False, "manual"),
        ("scheduled", "timetable", False, "schedule"),
        ("backfill", "backfill", False, "backfill"),
        ("asset_triggered", "asset", False, "asset"),
    ],
)
def test_run_source(run_type: str, triggered_by: str | None, by_message: bool, source: str) -> None:
    assert run_conf.run_source(run_type, triggered_by, by_message=by_message) == source


def test_a_conf_that_is_made_for_a_request_says_so() -> None:
    origin = Origin(7, "m7", "daily_sales", "b1", "stg_orders")
    conf = run_conf.conf_of_run({"day": 1}, scope="task", start_task_ids=["refresh"], origin=origin)
    assert json.loads(json.dumps(conf)) == conf
    assert run_conf.message_id(conf, "daily_sales", "b1") == "m7"
    assert run_conf.completed_task_id(conf) == "stg_orders"
    assert run_conf.origin_of(conf) == origin.as_conf()
    assert run_conf.used_params(conf, lambda params: params) == {"day": 1}
    assert sorted(set(conf) - {"day"}) == sorted(run_conf.RESERVED_KEYS)


@pytest.mark.parametrize("conf", [None, "x", [], {}, {"_accelerator": None}, {"_accelerator": "7"}, {"_accelerator": []}])
def test_a_conf_without_an_origin_has_no_message(conf: Any) -> None:
    assert run_conf.origin_of(conf) is None
    assert run_conf.message_id(conf, "daily_sales", "b1") is None
    assert run_conf.completed_task_id(conf) is None


def test_the_conf_of_another_run_is_no_message_of_this_one() -> None:
    copied = {"_accelerator": Origin(1, "m1", "daily_sales", "b1").as_conf()}
    for other in (("daily_sales", "b2"), ("monthly_sales", "b1")):
        assert run_conf.message_id(copied, *other) is None
        with pytest.raises(RunConfError, match="belongs to the dispatcher"):
            run_conf.checked_message_id(copied, *other)
    assert run_conf.checked_message_id({"country": "DE"}, "daily_sales", "b2") is None


def test_used_params_are_masked_as_a_whole_and_fit_into_json() -> None:
    seen: list[Any] = []

    def mask(value: Any) -> Any:
        seen.append(value)
        return "***"

    assert run_conf.used_params({"scope": "task", "when": object}, mask) == {}
    assert seen == [{"when": str(object)}]


def test_our_own_keys_are_named_in_their_order() -> None:
    assert run_conf.reserved_among(["_accelerator", "x", "scope"]) == ["scope", "_accelerator"]
