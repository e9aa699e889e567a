"""What starting a batch would run, and in which order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provider import messages
from provider.batch_ids import check_batch_id
from provider.exceptions import AcceleratorError, MessageError
from provider.metadata.states import DISABLED_REASON, OUT_OF_SCOPE_REASON
from provider.run_conf import requested_scope
from provider.run_plan import RunPlan, conf_of_start, new_batch_id, plan_run, read_params

EDGES = {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e"], "e": [], "alone": []}


def planned(wish: dict[str, Any], disabled: tuple[str, ...] = (), tolerant: tuple[str, ...] = ()) -> RunPlan:
    return plan_run(EDGES, requested_scope(wish, EDGES), dict.fromkeys(disabled, DISABLED_REASON), tolerant)


def test_all_tasks_run_level_by_level() -> None:
    assert planned({}) == RunPlan((("a", "alone"), ("b", "c"), ("d",), ("e",)), ())


def test_out_of_scope_is_skipped_and_bothers_nobody() -> None:
    plan = planned({"start_task_id": ["c"], "scope": "downstream"})
    assert plan.levels == (("c",), ("d",), ("e",))
    assert plan.skipped == tuple((name, OUT_OF_SCOPE_REASON) for name in ("a", "alone", "b"))
    assert planned({"start_task_id": ["d", "a"], "scope": "task"}).levels == (("a", "d"),)


def test_what_is_behind_a_disabled_task_is_skipped_unless_it_does_not_mind() -> None:
    plan = planned({}, disabled=("b",))
    assert plan.levels == (("a", "alone"), ("c",))
    assert plan.skipped == (("b", DISABLED_REASON), ("d", "parent skipped: b"), ("e", "parent skipped: d"))
    assert planned({}, disabled=("b",), tolerant=("d",)).levels == (("a", "alone"), ("c",), ("d",), ("e",))


def test_params_are_json_or_texts() -> None:
    given = ["n=7", "t=de", 'q="7"', "l=[1, 2]", "e=", "eq=a=b", "nan=NaN", "bad={", "no=null"]
    read = {"n": 7, "t": "de", "q": "7", "l": [1, 2], "e": "", "eq": "a=b", "nan": "NaN", "bad": "{", "no": None}
    assert read_params(given) == read
    for wrong in (["x"], ["=1"], ["x=1", "x=2"]):
        with pytest.raises(AcceleratorError, match=r"is no NAME=VALUE\.|is given twice\."):
            read_params(wrong)


def test_the_conf_has_the_keys_of_every_start() -> None:
    assert conf_of_start(["b", "a", "b"], "task", "B1", {"x": 1}) == {"x": 1, "scope": "task", "start_task_id": ["a", "b"]}
    assert conf_of_start([], "workflow", "B1", {}) == {"scope": "workflow"}


@pytest.mark.parametrize(
    ("batch_id", "params"),
    [("x/clear", {}), ("manual__1", {}), ("B1", {"scope": "task"}), ("B1", {"_accelerator": {}}), ("B1", {"n": 2**70})],
)
def test_what_a_message_may_not_say_is_refused_in_the_same_words(batch_id: str, params: dict[str, Any]) -> None:
    message = {"task_id": "a", "batch_id": batch_id, "params": params}
    refusal = messages.read(json.dumps(message).encode(), {}, "1", None).problem
    with pytest.raises(MessageError) as raised:
        conf_of_start(["a"], "downstream", batch_id, params)
    assert str(raised.value) == refusal


def test_a_new_id_is_one_that_a_message_may_have() -> None:
    assert check_batch_id(new_batch_id()) != new_batch_id()
