"""A remote service in memory, whose answers are scripted, and a task's way to it: no network, no time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from provider.hooks.remote_job import JobStatus
from provider.hooks.wait_budget import WaitBudget
from provider.operators.job_ledger import JobLedger
from provider.operators.job_start import IfRunning, JobStart
from provider.operators.patient_service import PatientService
from tests.provider.operators.conftest import Store

JOB: dict[str, Any] = {"id": "job-1", "url": "https://example.com/job-1"}
OTHER: dict[str, Any] = {"id": "job-2", "url": "https://example.com/job-2"}
REQUEST = {"what": "sales"}
INTENT = {"marker": "ours"}
RUNNING, DONE, FAILED = JobStatus("running", "InProgress"), JobStatus("done", "Completed"), JobStatus("failed", "Failed")
#: More calls than any life of a job needs: what would go on for ever ends here.
FOR_EVER = 1000
#: Waits that are over after one look.
NO_PAUSES = WaitBudget(call=1.0, lookup=0.0, accepted_lookup=0.0, patience=0.0, short_poll=1.0)


@dataclass
class ScriptedService:
    """
    Answers each call from its list, errors among the answers; the last answer is repeated.

    ``calls`` has what was asked, in order.
    """

    starts: list[Any] = field(default_factory=lambda: [JOB])
    finds: list[Any] = field(default_factory=lambda: [None])
    statuses: list[Any] = field(default_factory=lambda: [RUNNING])
    cancels: list[Any] = field(default_factory=lambda: [None])
    prepares: list[Any] = field(default_factory=lambda: [INTENT])
    budget: WaitBudget = NO_PAUSES
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def prepare(self, request: Any) -> Any:
        return self._answer("prepare", self.prepares, request)

    def start(self, request: Any, intent: Any) -> Any:
        return self._answer("start", self.starts, request, intent)

    def find(self, intent: Any) -> Any:
        return self._answer("find", self.finds, intent)

    def status(self, job: Any) -> Any:
        return self._answer("status", self.statuses, job)

    def cancel(self, job: Any) -> Any:
        return self._answer("cancel", self.cancels, job)

    def asked(self) -> list[str]:
        """Return the names of the calls."""
        return [call[0] for call in self.calls]

    def _answer(self, name: str, answers: list[Any], *asked: Any) -> Any:
        self.calls.append((name, *asked))
        assert len(self.calls) < FOR_EVER, f"{name} is repeated for ever"
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Tries:
    """
    The tries of one task, up to the job that each waits for.

    :param service: what they start it with.
    :param if_running: what to do with another job in the place.
    """

    def __init__(self, service: ScriptedService, if_running: IfRunning = "wait") -> None:
        self.service = service
        self.store = Store()
        self.chain = 3
        self.number = 0
        self._if_running = if_running

    @property
    def entry(self) -> dict[str, Any]:
        """What the task remembers."""
        remembered: dict[str, Any] = self.store.get("remote_job")
        return remembered

    def remember(self, **changes: Any) -> None:
        self.store.set("remote_job", {**(self.entry or {"chain": self.chain}), **changes})

    def ledger(self) -> JobLedger:
        return JobLedger(self.store, chain=self.chain, try_number=self.number, service={"name": "scripted", "conn_id": "c"})

    def next(self, budget: WaitBudget = NO_PAUSES, request: Callable[[], Any] = lambda: REQUEST) -> Any:
        """Return the job of the next try, as an operator records it."""
        self.number += 1
        patient = PatientService(self.service, "job", 1.0, logging.getLogger("task"))  # type: ignore[arg-type]
        ledger = self.ledger()
        job = JobStart(patient, ledger, budget, request, self._if_running).reattach_or_start()
        ledger.record_job(job)
        return job
