"""What a task remembers of its remote job between tries: Airflow's task state store, one key."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from airflow.sdk import Context

    from provider.hooks.remote_job import RemoteJob

log = logging.getLogger(__name__)

#: The reconciler reads this key of Airflow's table ``task_state_store`` too.
LEDGER_KEY = "remote_job"


class JobLedger:
    """
    The ledger of one task instance (one ``map_index`` of one run).

    Its entry is one JSON object, written at once:

    ``job``
        handle of the job (``id``, ``url`` and the service's own keys), None until one is started.
    ``intent``, ``intent_at``
        what is needed to find a job whose start was never answered or recorded, and since when: written before each start,
        None again once there is a job.
    ``chain``
        ``ti.max_tries``: retries and killed workers keep it, a person's clear raises it.
    ``outcome``
        ``running``, ``success`` or ``failed``: what is known of the job.
    ``tries``
        ``{"<try_number>": {"id": …, "url": …}}``: the job each try waited for, over all chains.
    ``service``
        ``{"name": …, "conn_id": …}`` of the service that runs the job, so that the reconciler can cancel it; None where a person
        who ends the task does not end the job. It chooses nothing: host, identity and connection come from the DAG's definition
        and must agree with it.

    :param store: ``context["task_state_store"]``; None (a context made by hand, ``dag.test`` of older versions) keeps
        the entry for this process only, so a retry cannot re-attach.
    :param chain: ``ti.max_tries``.
    :param try_number: ``ti.try_number``.
    :param service: see above.
    """

    def __init__(self, store: Any | None, *, chain: int, try_number: int, service: Mapping[str, str] | None = None) -> None:
        self._store = store
        self._service = service
        self._chain = chain
        self._try_number = try_number
        stored = store.get(LEDGER_KEY) if store is not None else None
        self._entry: dict[str, Any] = dict(stored) if isinstance(stored, dict) else {}
        if store is None:
            log.warning("No task_state_store in the context: a retry of this task cannot re-attach to its remote job.")

    @classmethod
    def from_context(cls, context: Context, service: Mapping[str, str] | None = None) -> JobLedger:
        """Open the ledger of the task instance that *context* belongs to."""
        ti = context["ti"]
        store = context.get("task_state_store")
        return cls(store, chain=int(ti.max_tries or 0), try_number=int(ti.try_number), service=service)

    @property
    def entry(self) -> Mapping[str, Any]:
        """What it says, as it is stored."""
        return self._entry

    @property
    def empty(self) -> bool:
        """Whether this task instance never came as far as starting a job."""
        return not self._entry

    @property
    def same_chain(self) -> bool:
        """Whether the entry was written by this chain of tries (no person cleared the task in between)."""
        return not self.empty and self._entry.get("chain") == self._chain

    @property
    def job(self) -> RemoteJob | None:
        """Handle of the recorded job."""
        return cast("RemoteJob | None", self._entry.get("job"))

    @property
    def intent(self) -> dict[str, Any] | None:
        """Recorded intent to start a job."""
        return cast("dict[str, Any] | None", self._entry.get("intent"))

    @property
    def intent_age(self) -> float:
        """Seconds since the intent was recorded; 0 where that is not known."""
        recorded = self._entry.get("intent_at")
        return (datetime.now(tz=UTC) - datetime.fromisoformat(recorded)).total_seconds() if recorded else 0.0

    @property
    def failed(self) -> bool:
        """Whether the recorded job is known to have failed."""
        return self._entry.get("outcome") == "failed"

    def open_chain(self) -> None:
        """Begin a chain: nothing of an earlier one can be adopted any more."""
        self._write(job=None, intent=None, intent_at=None, outcome="running")

    def record_intent(self, intent: dict[str, Any] | None) -> None:
        """Record that a job is about to be started, or (None) that none was started and none is known."""
        self._write(job=None, intent=intent, intent_at=_now() if intent else None, outcome="running")

    def record_job(self, job: RemoteJob) -> None:
        """Record the job this try waits for."""
        tries = dict(self._entry.get("tries") or {})
        tries[str(self._try_number)] = {"id": job["id"], "url": job["url"]}
        self._write(job=job, intent=None, intent_at=None, outcome="running", tries=tries)

    def record_outcome(self, outcome: str) -> None:
        """Record that the job has ended: ``success`` or ``failed``."""
        self._write(outcome=outcome)

    def _write(self, **changes: Any) -> None:
        self._entry = {**self._entry, **changes, "chain": self._chain, "service": self._service}
        if self._store is not None:
            self._store.set(LEDGER_KEY, self._entry)


def _now() -> str:
    return datetime.now(tz=UTC).isoformat()
