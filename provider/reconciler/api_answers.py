"""
What Airflow's REST API answers, typed: the fields that the reconciler reads, and no others.

.. seealso:: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from provider.airflow_internals.audit_log import Entry
from provider.hooks.remote_job import RemoteCallError
from provider.reconciler.airflow_state import TryState
from provider.texts import first_line

T = TypeVar("T", bound="_Answer")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RunAnswer(_Answer):
    """One DAG run."""

    dag_id: str
    run_id: str = Field(alias="dag_run_id")
    state: str | None
    run_type: str
    triggered_by: str | None
    conf: dict[str, Any] | None
    run_after: AwareDatetime
    started_at: AwareDatetime | None = Field(alias="start_date")
    ended_at: AwareDatetime | None = Field(alias="end_date")


class _TryAnswer(_Answer):
    dag_id: str
    run_id: str = Field(alias="dag_run_id")
    task_id: str
    map_index: int
    state: str | None
    try_number: int
    max_tries: int
    started_at: AwareDatetime | None = Field(alias="start_date")
    ended_at: AwareDatetime | None = Field(alias="end_date")
    queued_at: AwareDatetime | None = Field(default=None, alias="queued_when")
    scheduled_at: AwareDatetime | None = Field(default=None, alias="scheduled_when")
    operator: str | None


class TaskAnswer(_TryAnswer):
    """
    One task instance.

    :param id: another one for each try.
    """

    id: UUID

    def as_try(self, updated_at: datetime | None) -> TryState:
        """
        Return it as the live try.

        :param updated_at: the latest moment at which, as is known, it had not yet got its last change.
        """
        return _as_try(self, updated_at, live=True)


class HistoryAnswer(_TryAnswer):
    """One try, whose task instance may have gone on since."""

    def as_try(self) -> TryState:
        """Return it as a try of the past."""
        return _as_try(self, None, live=False)


class EventAnswer(_Answer):
    """One row of the audit log."""

    id: int = Field(alias="event_log_id")
    at: AwareDatetime = Field(alias="when")
    event: str
    owner: str | None
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int | None
    try_number: int | None
    extra: str | None

    def as_entry(self) -> Entry:
        """Return it as the database reader has it."""
        return Entry(**{name: getattr(self, name) for name in Entry.__annotations__})


class EdgesAnswer(_Answer):
    """A task of a DAG, with what comes after it."""

    task_id: str
    downstream_task_ids: list[str] = []


class StoredAnswer(_Answer):
    """What a task has left in its state store."""

    key: str
    value: Any


def read(model: type[T], answer: Any) -> T:
    """
    Read one object of an answer.

    :raises RemoteCallError: it is not what Airflow documents.
    """
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        flaw = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in flaw["loc"])
        raise RemoteCallError(
            f"Airflow's REST API gave a {model.__name__.removesuffix('Answer').lower()} whose {where} is wrong: "
            f"{first_line(flaw['msg'])}. Is this a version of Airflow that is supported?",
            retryable=False,
        ) from None


def read_each(model: type[T], answers: Iterable[Any]) -> Iterator[T]:
    """Read the objects of a list; see :func:`read`."""
    return (read(model, answer) for answer in answers)


def _as_try(answer: _TryAnswer, updated_at: datetime | None, *, live: bool) -> TryState:
    return TryState(
        task_id=answer.task_id,
        map_index=answer.map_index,
        try_number=answer.try_number,
        state=answer.state,
        started_at=answer.started_at,
        ended_at=answer.ended_at,
        updated_at=updated_at,
        live=live,
        max_tries=answer.max_tries,
    )
