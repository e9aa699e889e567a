"""
What Power BI answers, typed.

A value of another type than the documented one counts as not given: answers are foreign, and the live service knows words and
shapes that its documentation does not.

.. seealso:: https://learn.microsoft.com/rest/api/power-bi/datasets/get-refresh-history-in-group
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from provider.hooks.paths import is_part
from provider.texts import one_line

#: Longest name or word, in characters, that is taken from the service.
_WORD_LENGTH = 300
#: More attempts than that nobody makes.
_MOST_ATTEMPTS = 1_000_000

T = TypeVar("T", bound=BaseModel)


def parse_time(value: Any) -> datetime | None:
    """Return a moment of the service, which always means UTC; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _word(value: Any) -> str | None:
    return one_line(value, _WORD_LENGTH) or None if isinstance(value, str) else None


def _id(value: Any) -> str | None:
    return value if is_part(value) else None


def _guid(value: Any) -> str | None:
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= _MOST_ATTEMPTS else 0


def objects_in(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a list of the service; none where it is no list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


Word = Annotated[str | None, BeforeValidator(_word)]
Id = Annotated[str | None, BeforeValidator(_id)]
Guid = Annotated[str | None, BeforeValidator(_guid)]
Moment = Annotated[datetime | None, BeforeValidator(parse_time)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RefreshedObject(_Answer):
    """What became of a table or a partition."""

    table: Word = None
    partition: Word = None
    status: Word = None


class Attempt(_Answer):
    """One attempt of an enhanced refresh."""

    exception: Any = Field(default=None, alias="serviceExceptionJson")


class Entry(_Answer):
    """
    A refresh, in a history or by itself.

    :param id: its ``requestId``; of a dataflow's transaction its ``id``.
    :param messages: what the engine says, in any shape.
    """

    id: Id = Field(default=None, validation_alias=AliasChoices("requestId", "id"))
    status: Word = None
    extended_status: Word = Field(default=None, alias="extendedStatus")
    refresh_type: Word = Field(default=None, validation_alias=AliasChoices("refreshType", "currentRefreshType"))
    start_time: Moment = Field(default=None, alias="startTime")
    end_time: Moment = Field(default=None, alias="endTime")
    exception: Any = Field(default=None, alias="serviceExceptionJson")
    number_of_attempts: Annotated[int, BeforeValidator(_count)] = Field(default=0, alias="numberOfAttempts")
    messages: Annotated[list[dict[str, Any]], BeforeValidator(objects_in)] = []
    attempts: Annotated[list[Attempt], BeforeValidator(objects_in)] = Field(default=[], alias="refreshAttempts")
    objects: Annotated[list[RefreshedObject], BeforeValidator(objects_in)] = []


class Item(_Answer):
    """
    A workspace, semantic model, dataflow or report.

    :param id: its ``id``; of a dataflow its ``objectId``.
    :param dataset_id: of a report the semantic model that it shows; paginated reports have none.
    :param dataset_workspace_id: the workspace of that model.
    """

    id: Guid = Field(default=None, validation_alias=AliasChoices("objectId", "id"))
    name: Word = None
    dataset_id: Guid = Field(default=None, alias="datasetId")
    dataset_workspace_id: Guid = Field(default=None, alias="datasetWorkspaceId")


def read(model: type[T], answer: Any) -> T:
    """Return what an answer says; nothing is given where it is no object."""
    return model.model_validate(dict(answer) if isinstance(answer, Mapping) else {})


def read_all(model: type[T], answer: Any, longest: int) -> list[T]:
    """Return the objects in the ``value`` list of an answer, *longest* of them at most: the service lists the newest first."""
    value = answer.get("value") if isinstance(answer, Mapping) else None
    return [read(model, item) for item in objects_in(value[:longest] if isinstance(value, list) else None)]
