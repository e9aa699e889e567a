"""The body of an enhanced refresh, typed and checked before the call."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from provider.exceptions import ConfigurationError

__all__ = ["EnhancedRefresh", "RefreshObject"]


def _camel(value: Any) -> Any:
    """Accept ``Full`` (Swagger) as well as ``full`` (documentation): the service takes both."""
    return value[:1].lower() + value[1:] if isinstance(value, str) else value


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=AliasGenerator(alias=to_camel), populate_by_name=True, extra="forbid", frozen=True)


class RefreshObject(_Body):
    """
    One part of a semantic model.

    :param table: name of the table.
    :param partition: name of one partition of it; None for the whole table.
    """

    table: str = Field(min_length=1)
    partition: str | None = Field(default=None, min_length=1)


class EnhancedRefresh(_Body):
    """
    Parameters of an enhanced refresh. All are optional; the service's defaults hold for those left out.

    Names are accepted in Python's and in the service's spelling (``commit_mode``, ``commitMode``).

    :param type: kind of processing; the service's default is ``automatic``.
    :param commit_mode: ``transactional`` (default) or ``partialBatch``, which needs ``apply_refresh_policy=False``.
    :param max_parallelism: threads that process at once; the service's default is 10.
    :param retry_count: how often the service repeats a refresh that fails; default 0.
    :param objects: tables and partitions to refresh; None for the whole model.
    :param apply_refresh_policy: apply the incremental refresh policy; default True.
    :param effective_date: the date the refresh policy takes for today.
    :param timeout: ``HH:MM:SS`` for one attempt, default ``05:00:00``; all attempts together end after 24 hours.
    :raises pydantic.ValidationError: a value the service would refuse.

    .. seealso:: https://learn.microsoft.com/power-bi/connect-data/asynchronous-refresh
    """

    type: Annotated[
        Literal["full", "clearValues", "calculate", "dataOnly", "automatic", "defragment"] | None,
        BeforeValidator(_camel),
    ] = None
    commit_mode: Annotated[Literal["transactional", "partialBatch"] | None, BeforeValidator(_camel)] = None
    max_parallelism: int | None = Field(default=None, ge=1, le=2**31 - 1)
    retry_count: int | None = Field(default=None, ge=0, le=2**31 - 1)
    objects: tuple[RefreshObject, ...] | None = Field(default=None, min_length=1)
    apply_refresh_policy: bool | None = None
    effective_date: date | datetime | None = None
    timeout: str | None = Field(default=None, pattern=r"^([0-1]?[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$")

    @model_validator(mode="after")
    def _partial_batch_without_policy(self) -> Self:
        if self.commit_mode == "partialBatch" and self.apply_refresh_policy is not False:
            raise ValueError("commitMode partialBatch needs applyRefreshPolicy false")
        return self

    def body(self) -> dict[str, Any]:
        """Return the request body; ``type`` is always in it, as an empty body would ask for a classic refresh."""
        body: dict[str, Any] = {"type": "automatic"}
        return body | self.model_dump(mode="json", by_alias=True, exclude_none=True)


def enhanced_refresh(value: Any) -> EnhancedRefresh:
    """
    Check a rendered body.

    :raises ConfigurationError: names each wrong value.
    """
    try:
        return EnhancedRefresh.model_validate(value)
    except ValidationError as error:
        reasons = "; ".join(
            ".".join(str(part) for part in item["loc"]) + f": {item['msg']}" if item["loc"] else item["msg"]
            for item in error.errors(include_url=False, include_input=False)
        )
        raise ConfigurationError(f"The enhanced refresh cannot be sent: {reasons}. Correct `refresh`.") from error
