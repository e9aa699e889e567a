"""What is read of what a task keeps: its own process writes there what it likes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provider.metadata.states import END_CAUSES
from provider.reconciler.airflow_state import LeftText, RemoteJobState
from provider.reconciler.task_store import KEYS, read_entry, read_value

JOB, ERROR = KEYS


def test_a_ledger_is_read_whole() -> None:
    tries, job, intent = {"1": {"id": "j"}}, {"id": "j"}, {"since": "then"}
    service = {"name": "bigquery", "conn_id": "c"}
    entry = {"tries": tries, "job": job, "intent": intent, "outcome": "running", "chain": 3, "service": service, "more": 1}

    assert read_entry(JOB, json.dumps(entry)) == RemoteJobState(tries, job, intent, True, 3, service)
    assert read_value(JOB, entry) == RemoteJobState(tries, job, intent, True, 3, service)


@pytest.mark.parametrize("garbage", [None, 7, "x", ["a"], True])
def test_parts_of_a_ledger_that_make_no_sense_are_left_out(garbage: Any) -> None:
    parts = dict.fromkeys(("tries", "job", "intent", "outcome", "service"), garbage)
    assert read_value(JOB, {**parts, "chain": str(garbage)}) == RemoteJobState({})


@pytest.mark.parametrize("outcome", ["success", "failed", "RUNNING", None])
def test_a_job_runs_only_where_the_ledger_says_so(outcome: str | None) -> None:
    assert read_value(JOB, {"outcome": outcome}) == RemoteJobState({})


def test_the_text_of_an_error_is_read_whole() -> None:
    entry = {"try": 2, "type": "RemoteJobError", "message": "refresh\nfailed", "cause": "remote"}
    assert read_entry(ERROR, json.dumps(entry)) == LeftText(2, "RemoteJobError", "refresh failed", "remote")


def test_a_long_text_of_an_error_is_cut_to_what_its_columns_hold() -> None:
    found = read_value(ERROR, {"try": 1, "type": "T" * 9_000, "message": "m" * 9_000})
    assert isinstance(found, LeftText)
    assert found.type is not None
    assert (len(found.type), len(found.message)) == (250, 4000)


@pytest.mark.parametrize(("type_", "cause"), [(None, None), (7, 7), (["T"], ["remote"]), (None, "somebody"), (None, "")])
def test_what_makes_no_sense_beside_a_text_is_left_out(type_: Any, cause: Any) -> None:
    assert read_value(ERROR, {"try": 1, "message": "x", "type": type_, "cause": cause}) == LeftText(1, None, "x", None)


def test_every_cause_is_known() -> None:
    for cause in END_CAUSES:
        assert read_value(ERROR, {"try": 1, "message": "x", "cause": cause}) == LeftText(1, None, "x", cause)


@pytest.mark.parametrize("entry", [{}, {"try": 1}, {"message": "x"}, {"try": "1", "message": "x"}, {"try": 1, "message": 7}])
def test_a_text_needs_its_try_and_its_message(entry: dict[str, Any]) -> None:
    assert read_value(ERROR, entry) is None


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["", "no JSON", "[]", "7", "null", '"x"', "[" * 100_000])
def test_what_is_no_object_is_nothing(key: str, value: str) -> None:
    assert read_entry(key, value) is None
