"""Questions that are repeated in the worker, by a clock that only moves when somebody sleeps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from provider.exceptions import RemoteJobError
from provider.hooks import wait_budget
from provider.hooks.remote_job import CannotCancelError, JobNotFoundError, JobStatus, RemoteCallError
from provider.hooks.wait_budget import WaitBudget
from provider.operators import patient_service
from provider.operators.patient_service import PatientService
from tests.provider.clock import Clock
from tests.provider.operators.scripted_service import DONE, INTENT, JOB, RUNNING, ScriptedService

BUSY = RemoteCallError("503.")
NEVER = RemoteCallError("403.", retryable=False)
BUDGET = WaitBudget(patience=60.0, lookup=30.0, short_poll=5.0, outage=3600.0, details=3)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(patient_service, "jittered", lambda seconds: seconds)
    return Clock(monkeypatch, patient_service, wait_budget)


@pytest.fixture
def patient(clock: Clock) -> Callable[..., PatientService]:
    def make(poll_interval: float = 15.0, **answers: Any) -> PatientService:
        service: Any = ScriptedService(budget=BUDGET, **answers)
        log: Any = logging.getLogger("task")
        return PatientService(service, "job", poll_interval, log)

    return make


def asked(patient: PatientService) -> list[str]:
    service: Any = patient.service
    found: list[str] = service.asked()
    return found


def questions(*answers: Any) -> Callable[[], Any]:
    left = list(answers)

    def ask() -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


class TestQuestion:
    def test_it_is_repeated_until_it_is_answered(self, patient, clock):
        assert patient().ask(questions(BUSY, BUSY, "answer"), BUDGET) == "answer"
        assert clock.naps == [5.0, 5.0]

    def test_it_is_given_up_after_a_while(self, patient, clock):
        with pytest.raises(RemoteCallError, match="503"):
            patient().ask(questions(BUSY), BUDGET)
        assert sum(clock.naps) == 60.0

    def test_it_is_given_up_at_the_end_of_the_wait(self, patient, clock):
        with pytest.raises(RemoteCallError, match="503"):
            patient().ask(questions(BUSY), BUDGET.until(clock.now + 12.0))
        assert clock.naps == [5.0, 5.0, 2.0]

    def test_it_is_not_repeated_where_that_makes_no_sense(self, patient, clock):
        with pytest.raises(RemoteCallError, match="403"):
            patient().ask(questions(NEVER, "answer"), BUDGET)
        assert clock.naps == []

    def test_service_is_left_alone_for_as_long_as_it_asks(self, patient, clock):
        assert patient().ask(questions(RemoteCallError("429.", retry_after=42.0), "answer"), BUDGET) == "answer"
        assert clock.naps == [42.0]

    @pytest.mark.parametrize(("seconds", "gives_up"), [(600.0, False), (601.0, True)])
    def test_slot_is_given_back_where_that_is_too_long(self, patient, clock, seconds, gives_up):
        question = questions(RemoteCallError("429.", retry_after=seconds), "answer")
        if gives_up:
            with pytest.raises(
                RemoteJobError, match=r"429\. The service asks to wait for 601 s: raise retry_delay, or try later"
            ):
                patient().ask(question, BUDGET)
            assert clock.naps == []
        else:
            assert patient().ask(question, BUDGET) == "answer"

    def test_pauses_in_the_worker_are_short(self, patient):
        assert patient(poll_interval=15.0).short_pause == 5.0
        assert patient(poll_interval=2.0).short_pause == 2.0


class TestLookUp:
    def test_job_that_is_listed_late_is_found(self, patient, clock):
        service = patient(finds=[None, None, JOB])

        assert service.look_up(INTENT, 30.0, BUDGET) == JOB
        assert service.service.calls[0] == ("find", INTENT)
        assert clock.naps == [5.0, 5.0]

    def test_it_ends_when_the_time_is_over(self, patient, clock):
        assert patient().look_up(INTENT, 12.0, BUDGET) is None
        assert clock.naps == [5.0, 5.0, 2.0]

    @pytest.mark.parametrize("seconds", [0.0, -100.0])
    def test_it_is_made_once_at_least(self, patient, clock, seconds):
        assert patient(finds=[JOB]).look_up(INTENT, seconds, BUDGET) == JOB
        assert clock.naps == []

    def test_it_is_made_also_after_the_end_of_the_wait(self, patient, clock):
        over = BUDGET.until(clock.now - 100.0)

        assert patient(finds=[BUSY, None, JOB]).look_up(INTENT, 30.0, over) == JOB


class TestStatus:
    def test_job_that_the_service_has_lost_has_failed(self, patient):
        status = patient(statuses=[JobNotFoundError("no such job")]).status(JOB, BUDGET)

        assert (status.state, status.detail, status.error) == ("failed", "not found", "no such job")

    def test_question_is_repeated(self, patient):
        service = patient(statuses=[BUSY, DONE])

        assert service.status(JOB, BUDGET) == DONE
        assert service.service.calls == [("status", JOB)] * 2

    def test_error_says_that_the_job_was_left_running(self, patient):
        with pytest.raises(RemoteJobError) as error:
            patient(statuses=[NEVER]).status(JOB, BUDGET)
        assert str(error.value) == "Cannot watch job job-1: 403. The job was left running; a retry re-attaches."

    def test_details_of_an_ended_job_are_asked_for_some_more_times(self, patient, clock):
        without = JobStatus("done", "Completed", incomplete=BUSY)

        service = patient(statuses=[without, DONE])
        assert service.look(JOB) == DONE
        assert service.service.calls == [("status", JOB)] * 2
        assert clock.naps == [5.0]

        service = patient(statuses=[without])
        assert service.look(JOB) == without
        assert len(asked(service)) == BUDGET.details

    def test_details_that_will_never_come_are_asked_for_once(self, patient):
        service = patient(statuses=[JobStatus("done", "Completed", incomplete=NEVER)])

        assert service.look(JOB).state == "done"
        assert len(asked(service)) == 1


class TestWaitInTheWorker:
    def test_it_ends_with_the_job(self, patient, clock):
        service = patient(statuses=[RUNNING, RUNNING, DONE])

        assert service.wait(JOB, BUDGET, 60.0) == DONE
        assert service.service.calls == [("status", JOB)] * 3
        assert clock.naps == [5.0, 5.0]

    def test_without_a_deferral_polls_are_an_interval_apart(self, patient, clock):
        assert patient(statuses=[RUNNING, DONE]).wait(JOB, BUDGET, None) == DONE
        assert clock.naps == [15.0]

    def test_it_is_time_to_defer_when_the_slot_was_held_long_enough(self, patient, clock):
        assert patient().wait(JOB, BUDGET, 12.0) is None
        assert clock.naps == [5.0, 5.0, 5.0]
        assert patient().wait(JOB, BUDGET, 10.0) is None
        assert clock.naps == [5.0] * 5
        assert patient().wait(JOB, BUDGET, 0.0) is None
        assert clock.naps == [5.0] * 5

    def test_service_that_asks_to_wait_for_longer_than_the_slot_is_waited_for_in_the_triggerer(self, patient, clock):
        assert patient(statuses=[RemoteCallError("429.", retry_after=30.0)]).wait(JOB, BUDGET, 20.0) is None
        assert clock.naps == []
        assert patient(statuses=[RemoteCallError("429.", retry_after=15.0), DONE]).wait(JOB, BUDGET, 20.0) == DONE
        assert clock.naps == [15.0]

    def test_it_is_time_to_defer_also_while_the_service_is_silent(self, patient, clock):
        assert patient(statuses=[BUSY]).wait(JOB, BUDGET, 12.0) is None

    def test_end_of_the_wait_says_what_was_seen_last(self, patient, clock):
        with pytest.raises(TimeoutError, match=r"^job job-1 still runs \(InProgress\) at the end of the wait\.$"):
            patient().wait(JOB, BUDGET.until(clock.now + 20.0), None)
        assert clock.naps == [15.0, 5.0]

        with pytest.raises(TimeoutError, match=r"still runs \(the service does not answer\) at"):
            patient(statuses=[RUNNING, BUSY]).wait(JOB, BUDGET.until(clock.now + 10.0), None)

    def test_error_that_does_not_pass_ends_it(self, patient, clock):
        with pytest.raises(RemoteJobError, match=r"^Cannot watch job job-1: 403\. The job was left running"):
            patient(statuses=[NEVER]).wait(JOB, BUDGET, None)

    def test_silence_is_borne_for_a_while(self, patient, clock):
        began = clock.now

        with pytest.raises(RemoteJobError, match="503"):
            patient(statuses=[BUSY]).wait(JOB, replace(BUDGET, outage=60.0), None)
        assert clock.now - began == 75.0

    def test_each_answer_ends_a_silence(self, patient, clock):
        service = patient(statuses=[*[BUSY] * 4, RUNNING, *[BUSY] * 4, DONE])

        assert service.wait(JOB, replace(BUDGET, outage=60.0), None) == DONE

    def test_service_that_asks_for_time_is_not_silent(self, patient, clock):
        later = RemoteCallError("429.", retry_after=50.0)

        assert patient(statuses=[later, later, later, DONE]).wait(JOB, replace(BUDGET, outage=60.0), None) == DONE
        assert clock.naps == [50.0, 50.0, 50.0]


@pytest.mark.parametrize("answer", [None, BUSY, CannotCancelError("no")])
def test_cancel_that_fails_is_not_the_tasks_failure(patient, answer):
    service = patient(cancels=[answer])

    service.cancel(JOB)
    assert set(asked(service)) == {"cancel"}


def test_cancel_that_fails_for_a_passing_reason_is_repeated(patient, clock):
    """The job of a cleared task would run to its end, and its next try wait for that."""
    service = patient(cancels=[BUSY, BUSY, None])

    service.cancel(JOB)
    assert service.service.calls == [("cancel", JOB)] * 3


@pytest.mark.parametrize("answer", [CannotCancelError("no"), NEVER, RemoteCallError("429.", retry_after=10_000.0)])
def test_cancel_that_makes_no_sense_is_not_repeated(patient, clock, answer):
    service = patient(cancels=[answer, None])

    service.cancel(JOB)
    assert service.service.calls == [("cancel", JOB)]
    assert clock.naps == []
