"""What a task remembers of its remote job, and of whose tries."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from provider.operators.job_ledger import JobLedger
from tests.provider.operators.scripted_service import JOB, OTHER, ScriptedService, Tries


def test_it_is_of_its_own_chain_of_tries_alone():
    tries = Tries(ScriptedService())
    assert (tries.ledger().empty, tries.ledger().same_chain) == (True, False)
    tries.next()
    assert (tries.ledger().empty, tries.ledger().same_chain) == (False, True)
    tries.chain += 1
    assert (tries.ledger().empty, tries.ledger().same_chain) == (False, False)


def test_it_is_read_from_the_context_of_a_task():
    tries = Tries(ScriptedService())
    tries.next()
    ti = SimpleNamespace(max_tries=3, try_number=2)
    service = {"name": "scripted", "conn_id": "other"}

    ledger = JobLedger.from_context({"ti": ti, "task_state_store": tries.store}, service)  # type: ignore[typeddict-item]
    assert (ledger.job, ledger.same_chain) == (JOB, True)
    ledger.record_job(OTHER)
    assert list(tries.entry["tries"]) == ["1", "2"]
    assert tries.entry["service"] == service


def test_a_task_that_has_no_tries_yet_is_its_first_chain():
    tries = Tries(ScriptedService())
    ti = SimpleNamespace(max_tries=None, try_number=1)

    JobLedger.from_context({"ti": ti, "task_state_store": tries.store}).record_job(JOB)  # type: ignore[typeddict-item]
    assert (tries.entry["chain"], list(tries.entry["tries"])) == (0, ["1"])


def test_without_a_store_it_remembers_for_its_process_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        ledger = JobLedger(None, chain=0, try_number=1)
    ledger.record_job(JOB)

    assert ledger.job == JOB
    assert "cannot re-attach" in caplog.text


@pytest.mark.parametrize("stored", [["a list"], "text", 7])
def test_an_entry_that_is_no_object_counts_as_none(stored):
    tries = Tries(ScriptedService())
    tries.store.set("remote_job", stored)

    assert tries.ledger().empty


@pytest.mark.parametrize("intent", [{"marker": "ours"}, None])
def test_after_a_failed_job_a_new_intent_is_of_a_job_that_may_run(intent):
    """The reconciler would otherwise leave a start alone that a person's end of the task must undo."""
    tries = Tries(ScriptedService())
    tries.next()
    tries.ledger().record_outcome("failed")

    tries.ledger().record_intent(intent)

    assert (tries.entry["outcome"], tries.entry["job"], tries.entry["intent"]) == ("running", None, intent)
    assert (tries.entry["intent_at"] is None) is (intent is None)


def test_recorded_job_has_no_intent_any_more_and_runs():
    tries = Tries(ScriptedService())
    tries.next()
    tries.ledger().record_outcome("failed")
    tries.ledger().record_intent({"marker": "ours"})
    tries.remember(outcome="failed")

    tries.ledger().record_job(OTHER)

    entry = tries.entry
    assert (entry["job"], entry["intent"], entry["intent_at"], entry["outcome"]) == (OTHER, None, None, "running")
