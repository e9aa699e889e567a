"""One job for a chain of tries, whatever a service answers and whenever a worker is lost; with a service in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.exceptions import RemoteJobError
from provider.hooks import wait_budget
from provider.hooks.remote_job import AcceptedWithoutIdError, CannotCancelError, JobBusyError, RemoteCallError
from provider.operators import patient_service
from provider.operators.job_start import Obstacle
from tests.provider.clock import Clock
from tests.provider.operators.scripted_service import (
    DONE,
    FAILED,
    INTENT,
    JOB,
    NO_PAUSES,
    OTHER,
    REQUEST,
    RUNNING,
    ScriptedService,
    Tries,
)

LOST = RemoteCallError("lost", maybe_done=True)
REFUSED = RemoteCallError("refused")
ACCEPTED = AcceptedWithoutIdError("accepted without an id")
#: Seconds that no service needs to list a job.
LONG = 300.0


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, patient_service, wait_budget)


def minutes_ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


def test_first_try_records_its_intent_and_then_its_job():
    tries = Tries(ScriptedService())
    remembered: list[dict[str, Any]] = []
    start = tries.service.start

    def started(request: Any, intent: Any) -> Any:
        remembered.append(tries.entry)
        return start(request, intent)

    tries.service.start = started  # type: ignore[method-assign]

    assert tries.next() == JOB

    assert tries.service.calls == [("prepare", REQUEST), ("start", REQUEST, INTENT)]
    (before,) = remembered
    service = {"name": "scripted", "conn_id": "c"}
    since = datetime.fromisoformat(before.pop("intent_at"))
    assert timedelta() <= datetime.now(UTC) - since < timedelta(hours=1)
    assert before == {"job": None, "intent": INTENT, "outcome": "running", "chain": 3, "service": service}
    ours = {"1": {"id": JOB["id"], "url": JOB["url"]}}
    assert tries.entry == {
        "job": JOB,
        "intent": None,
        "intent_at": None,
        "outcome": "running",
        "chain": 3,
        "service": service,
        "tries": ours,
    }


def test_next_try_reattaches_to_the_job_that_runs_and_lists_both_tries():
    tries = Tries(ScriptedService(statuses=[RUNNING]))
    tries.next()

    assert tries.next() == JOB

    assert tries.service.asked() == ["prepare", "start", "status"]
    assert tries.service.calls[-1] == ("status", JOB)
    assert list(tries.entry["tries"]) == ["1", "2"]


def test_next_try_takes_a_job_that_has_succeeded_meanwhile():
    tries = Tries(ScriptedService(statuses=[DONE]))
    tries.next()

    assert tries.next() == JOB
    assert tries.service.asked().count("start") == 1


@pytest.mark.parametrize("known", [True, False], ids=["known to the ledger", "told by the service"])
def test_job_that_has_failed_is_followed_by_a_new_one(known):
    tries = Tries(ScriptedService(starts=[JOB, OTHER], statuses=[RUNNING if known else FAILED]))
    tries.next()
    if known:
        tries.ledger().record_outcome("failed")

    assert tries.next() == OTHER

    assert tries.service.asked() == ["prepare", "start", *([] if known else ["status"]), "prepare", "start"]


def test_failed_job_is_forgotten_before_a_new_one_is_prepared():
    tries = Tries(ScriptedService(statuses=[FAILED], prepares=[INTENT, RemoteCallError("no", retryable=False)]))
    tries.next()

    with pytest.raises(RemoteCallError):
        tries.next()

    assert (tries.entry["job"], tries.entry["intent"], tries.entry["intent_at"]) == (None, None, None)


def test_outcome_says_how_the_job_ended():
    tries = Tries(ScriptedService())
    tries.next()

    tries.ledger().record_outcome("success")

    assert tries.entry["outcome"] == "success"
    assert tries.entry["job"] == JOB


class WorkerLost(BaseException):
    """The process is gone."""


def told(tries: Tries) -> tuple[Any, ...]:
    """Return what the ledger says of the latest chain: job, intent and its time, outcome, number of the chain."""
    entry = tries.entry
    return entry["job"], entry["intent"], entry["intent_at"], entry["outcome"], entry["chain"]


class TestStartThatTheNextTryFindsUnrecorded:
    """A worker was lost between the start and its record."""

    def test_it_is_looked_up_and_not_started_again(self):
        tries = Tries(ScriptedService(finds=[JOB]))
        tries.remember(job=None, intent=INTENT, intent_at=minutes_ago(0))

        assert tries.next() == JOB
        assert tries.service.calls == [("find", INTENT)]

    def test_it_is_looked_up_for_as_long_as_a_call_and_its_listing_can_take(self):
        tries = Tries(ScriptedService(finds=[None, None, JOB]))
        tries.remember(job=None, intent=INTENT, intent_at=minutes_ago(1))

        assert tries.next(replace(NO_PAUSES, call=90.0, lookup=LONG)) == JOB
        assert tries.service.asked() == ["find", "find", "find"]

    @pytest.mark.parametrize("part", ["call", "lookup"])
    def test_the_time_of_the_call_counts_and_that_of_the_listing(self, part):
        tries = Tries(ScriptedService(finds=[None, JOB]))
        tries.remember(job=None, intent=INTENT, intent_at=minutes_ago(1))

        seconds: dict[str, Any] = {"call": 1.0, "lookup": 1.0, part: LONG}
        assert tries.next(replace(NO_PAUSES, **seconds)) == JOB

    def test_it_is_sent_again_with_the_same_intent_after_that_time(self):
        tries = Tries(ScriptedService(finds=[None]))
        tries.remember(job=None, intent=INTENT, intent_at=minutes_ago(60))

        tries.next(replace(NO_PAUSES, lookup=60.0))
        assert tries.service.calls == [("find", INTENT), ("start", REQUEST, INTENT)]

    def test_job_in_the_way_of_the_second_start_is_ours_after_all(self):
        tries = Tries(ScriptedService(starts=[JobBusyError("busy", other=OTHER)], finds=[None, JOB]), "fail")
        tries.remember(job=None, intent=INTENT, intent_at=minutes_ago(60))

        assert tries.next() == JOB

    def test_it_is_known_by_its_age_only_where_that_was_recorded(self):
        tries = Tries(ScriptedService(finds=[None, JOB]))
        tries.remember(job=None, intent=INTENT, intent_at=None)

        assert tries.next(replace(NO_PAUSES, lookup=LONG)) == JOB

    def test_an_accepted_one_is_looked_up_for_longer_as_the_task_remembers(self):
        """A minute later an ordinary start would count as not carried out; this one is listed at the second look."""
        tries = Tries(ScriptedService(starts=[ACCEPTED], finds=[None, None, JOB]))
        with pytest.raises(AcceptedWithoutIdError):
            tries.next()
        tries.remember(intent_at=minutes_ago(1))

        assert tries.next(replace(NO_PAUSES, accepted_lookup=LONG)) == JOB
        assert tries.service.asked() == ["prepare", "start", "find", "find", "find"]

    def test_after_a_person_cleared_the_task_it_is_cancelled_if_it_runs(self):
        tries = Tries(ScriptedService(finds=[JOB]))
        tries.remember(job=None, intent=INTENT, intent_at=minutes_ago(0))
        tries.chain += 1

        with pytest.raises(Obstacle) as obstacle:
            tries.next()

        assert obstacle.value.other == JOB
        assert tries.service.calls == [("find", INTENT), ("status", JOB), ("cancel", JOB)]


class TestClearedTask:
    def test_running_job_is_cancelled_and_waited_for(self):
        tries = Tries(ScriptedService())
        tries.next()
        tries.chain += 1

        with pytest.raises(Obstacle) as obstacle:
            tries.next()
        assert obstacle.value.other == JOB
        assert tries.service.calls[2:] == [("status", JOB), ("cancel", JOB)]

    def test_job_that_cannot_be_cancelled_is_waited_for_too(self):
        tries = Tries(ScriptedService(cancels=[CannotCancelError("no")]))
        tries.next()
        tries.chain += 1

        with pytest.raises(Obstacle):
            tries.next()

    def test_ended_job_is_not_adopted(self):
        tries = Tries(ScriptedService(starts=[JOB, OTHER], statuses=[DONE]))
        tries.next()
        tries.chain += 1

        assert tries.next() == OTHER
        assert "cancel" not in tries.service.asked()

    def test_job_of_somebody_else_that_was_adopted_goes_on(self):
        tries = Tries(ScriptedService(starts=[JobBusyError("busy", other=OTHER), JOB]), "adopt")
        assert tries.next() == {**OTHER, "adopted": True}
        tries.chain += 1

        assert tries.next() == JOB
        assert "cancel" not in tries.service.asked()

    def test_job_that_is_known_to_have_failed_is_not_asked_for(self):
        tries = Tries(ScriptedService(starts=[JOB, OTHER]))
        tries.next()
        tries.ledger().record_outcome("failed")
        tries.chain += 1

        assert tries.next() == OTHER
        assert "status" not in tries.service.asked()

    def test_nothing_of_the_old_chain_is_left_before_the_new_start(self):
        tries = Tries(ScriptedService(statuses=[FAILED], prepares=[INTENT, RemoteCallError("no", retryable=False)]))
        tries.next()
        tries.chain += 1
        with pytest.raises(RemoteCallError):
            tries.next()

        assert told(tries) == (None, None, None, "running", 4)

    def test_worker_that_is_lost_before_the_new_start_leaves_nothing_of_the_old_chain(self):
        tries = Tries(ScriptedService())
        tries.next()
        tries.remember(intent_at=minutes_ago(1), intent=INTENT, outcome="failed")
        tries.chain += 1

        def lost() -> Any:
            raise WorkerLost

        with pytest.raises(WorkerLost):
            tries.next(request=lost)
        assert told(tries) == (None, None, None, "running", 4)


class TestStartWithoutAClearAnswer:
    def test_found_job_is_ours(self):
        tries = Tries(ScriptedService(starts=[LOST], finds=[JOB]))

        assert tries.next() == JOB
        assert tries.service.calls[1:] == [("start", REQUEST, INTENT), ("find", INTENT)]

    def test_it_is_looked_up_for_as_long_as_a_listing_can_take(self):
        tries = Tries(ScriptedService(starts=[LOST], finds=[None, None, JOB]))

        assert tries.next(replace(NO_PAUSES, lookup=LONG)) == JOB

    def test_it_is_not_looked_up_for_as_long_as_one_that_was_accepted(self):
        tries = Tries(ScriptedService(starts=[LOST, JOB]))

        tries.next(replace(NO_PAUSES, accepted_lookup=LONG))
        assert tries.service.asked().count("find") == 1

    def test_it_is_sent_again_with_the_same_intent_where_nothing_is_found(self):
        tries = Tries(ScriptedService(starts=[LOST, JOB], prepares=[INTENT, {"marker": "another"}]))

        assert tries.next() == JOB
        assert tries.service.calls[1:] == [("start", REQUEST, INTENT), ("find", INTENT), ("start", REQUEST, INTENT)]

    def test_after_the_last_try_the_intent_stays_for_the_next_one(self):
        tries = Tries(ScriptedService(starts=[LOST]))

        with pytest.raises(RemoteCallError, match="lost"):
            tries.next(replace(NO_PAUSES, starts=2))

        assert tries.service.asked().count("start") == 2
        assert tries.entry["intent"] == INTENT

    def test_accepted_start_is_looked_up_for_its_own_time_and_never_sent_again(self):
        tries = Tries(ScriptedService(starts=[ACCEPTED], finds=[None, None, JOB]))

        assert tries.next(replace(NO_PAUSES, accepted_lookup=LONG)) == JOB

        again = Tries(ScriptedService(starts=[ACCEPTED]))
        with pytest.raises(AcceptedWithoutIdError):
            again.next(replace(NO_PAUSES, starts=3))
        assert again.service.asked() == ["prepare", "start", "find"]
        assert again.entry["intent"] == {**INTENT, "accepted": True}

    def test_job_in_the_way_that_is_ours_after_all(self):
        tries = Tries(ScriptedService(starts=[LOST, JobBusyError("busy", other=OTHER)], finds=[None, JOB]), "fail")

        assert tries.next() == JOB
        assert tries.service.calls[-1] == ("find", INTENT)

    def test_unnamed_job_in_the_way_is_looked_up_until_it_can_be_listed(self):
        tries = Tries(ScriptedService(starts=[LOST, JobBusyError("busy", other=None)], finds=[None, None, None, JOB]), "fail")

        assert tries.next(replace(NO_PAUSES, accepted_lookup=LONG)) == JOB

    def test_named_job_in_the_way_that_is_not_ours_is_looked_up_once(self):
        tries = Tries(ScriptedService(starts=[LOST, JobBusyError("busy", other=OTHER)]), "fail")

        with pytest.raises(JobBusyError):
            tries.next(replace(NO_PAUSES, accepted_lookup=LONG))
        assert tries.service.asked().count("find") == 2


class TestStartThatWasNotCarriedOut:
    def test_it_is_prepared_and_sent_again(self):
        tries = Tries(ScriptedService(starts=[REFUSED, REFUSED, JOB], prepares=[INTENT, INTENT, {"marker": "third"}]))

        assert tries.next(replace(NO_PAUSES, starts=3)) == JOB
        assert tries.service.asked() == ["prepare", "start"] * 3
        assert tries.service.calls[-1] == ("start", REQUEST, {"marker": "third"})

    def test_preparation_without_a_clear_answer_has_started_nothing_to_look_up(self):
        tries = Tries(ScriptedService(starts=[REFUSED, JOB], prepares=[INTENT, LOST, LOST]))

        with pytest.raises(RemoteCallError, match="lost"):
            tries.next(replace(NO_PAUSES, starts=2))
        assert "find" not in tries.service.asked()
        assert tries.entry["intent"] is None

    def test_it_is_sent_so_often_and_then_forgotten(self):
        tries = Tries(ScriptedService(starts=[REFUSED]))

        with pytest.raises(RemoteCallError, match="refused"):
            tries.next(replace(NO_PAUSES, starts=3))
        assert tries.service.asked().count("start") == 3
        assert (tries.entry["intent"], tries.entry["intent_at"]) == (None, None)

    def test_it_is_not_sent_again_where_that_cannot_help(self):
        tries = Tries(ScriptedService(starts=[RemoteCallError("never", retryable=False)]))

        with pytest.raises(RemoteCallError, match="never"):
            tries.next()
        assert tries.service.asked().count("start") == 1

    def test_it_is_not_sent_again_after_the_end_of_the_wait(self):
        tries = Tries(ScriptedService(starts=[REFUSED]))

        with pytest.raises(RemoteCallError, match="refused"):
            tries.next(replace(NO_PAUSES, deadline=1.0))
        assert tries.service.asked().count("start") == 1

    def test_service_that_asks_for_more_patience_than_a_slot_is_worth(self):
        tries = Tries(ScriptedService(starts=[RemoteCallError("later", retry_after=3392.0), JOB]))

        with pytest.raises(RemoteJobError, match="3392 s"):
            tries.next()
