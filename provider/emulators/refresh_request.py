"""
The body of ``POST …/refreshes`` on a semantic model, checked by the documented rules.

Follows https://learn.microsoft.com/power-bi/connect-data/asynchronous-refresh#post-refreshes.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

TIMEOUT_PATTERN = r"^([0-1]?[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"


def _spelled(*values: str) -> BeforeValidator:
    """Accept a value in any case, as the service does."""
    spelling = {value.lower(): value for value in values}
    return BeforeValidator(lambda value: spelling.get(value.lower(), value) if isinstance(value, str) else value)


_TYPES = ("Full", "ClearValues", "Calculate", "DataOnly", "Automatic", "Defragment")
RefreshType = Annotated[Literal["Full", "ClearValues", "Calculate", "DataOnly", "Automatic", "Defragment"], _spelled(*_TYPES)]
CommitMode = Annotated[Literal["Transactional", "PartialBatch"], _spelled("Transactional", "PartialBatch")]
NotifyOption = Annotated[
    Literal["NoNotification", "MailOnFailure", "MailOnCompletion"],
    _spelled("NoNotification", "MailOnFailure", "MailOnCompletion"),
]


class RefreshObject(BaseModel):
    """A table, or one partition of it."""

    model_config = ConfigDict(extra="forbid")

    table: str = Field(min_length=1)
    partition: str | None = Field(default=None, min_length=1)


class RefreshRequest(BaseModel):
    """
    The parameters of a refresh; any but ``notifyOption`` makes it an enhanced one.

    :param timeout: ``hh:mm:ss`` of one attempt.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    notifyOption: NotifyOption | None = None  # noqa: N815 - the vendor's field names
    type: RefreshType = "Automatic"
    commitMode: CommitMode = "Transactional"  # noqa: N815
    maxParallelism: int = Field(default=10, ge=1)  # noqa: N815
    retryCount: int = Field(default=0, ge=0)  # noqa: N815
    objects: list[RefreshObject] = []
    applyRefreshPolicy: bool = True  # noqa: N815
    effectiveDate: Annotated[date, Field(strict=False)] | None = None  # noqa: N815
    timeout: str = Field(default="05:00:00", pattern=TIMEOUT_PATTERN)

    @property
    def enhanced(self) -> bool:
        """Whether any parameter but ``notifyOption`` was given."""
        return bool(self.model_fields_set - {"notifyOption"})

    @property
    def attempt_timeout(self) -> timedelta:
        """How long one attempt may run."""
        hours, minutes, seconds = (int(part) for part in re.split(":", self.timeout))
        return timedelta(hours=hours, minutes=minutes, seconds=seconds)

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        if self.enhanced and self.notifyOption is not None:
            raise ValueError("notifyOption is not applicable to an enhanced refresh")
        if self.commitMode == "PartialBatch" and self.applyRefreshPolicy:
            raise ValueError("applyRefreshPolicy must be false if commitMode is PartialBatch")
        return self
