"""What a row of ``alert_rules`` may say. A row that says anything else is told of, and keeps no other from its work."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import time
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from provider.exceptions import ConfigurationError
from provider.texts import one_line, quoted

Event = Literal["failure", "retry", "blocked", "success", "late", "not_started", "slow"]
#: Events that a time of day decides, and which nothing that happens in Airflow announces.
BY_TIME = frozenset({"late", "not_started"})
#: The notifier that publishes to Pub/Sub.
TOPIC = "topic"
#: Stands for each task of a batch, where no task at all stands for the batch.
EACH_TASK = "*"
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)

#: Rules that are read; more are told of.
MOST_RULES = 1000
_LONGEST_PROBLEM = 1000
#: Longest config of a rule, in characters.
LONGEST_CONFIG = 10_000
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def _parts(value: Any) -> Any:
    """Read a list that is written with commas, as in a row."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _clock(value: Any) -> Any:
    if isinstance(value, time):
        return value
    # Without quotes 10:30 is a number to some readers of YAML, and to pydantic that many seconds.
    found = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{quoted(value)} is not a time of day; write HH:MM, in quotes where it is YAML")
    return time(int(found[1]), int(found[2]))


def _hours(value: Any) -> Any:
    if value is None:
        return value
    begin, dash, end = value.partition("-") if isinstance(value, str) else ("", "", "")
    if not dash:
        raise ValueError(f"{quoted(value)} is not a part of a day; write HH:MM-HH:MM")
    return (_clock(begin), _clock(end))


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{quoted(value)} is not a time zone; write a name such as Europe/Berlin") from error
    return value


Name = Annotated[StrictStr, Field(max_length=250, pattern=r"^[^\x00]+$")]
Clock = Annotated[time, BeforeValidator(_clock)]


class AlertRule(BaseModel):
    """
    One row of ``alert_rules``; see docs/alerts.md.

    :raises pydantic.ValidationError: the row says something else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    rule_id: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
    workflow_id: Name | None = None
    task_id: Name | None = None
    events: Annotated[tuple[Event, ...], BeforeValidator(_parts), Field(min_length=1, max_length=7)]
    notifier: Annotated[StrictStr, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,249}$")]
    config: dict[str, Any] = Field(default_factory=dict)
    from_time: Clock = time(0, 0)
    at_time: Clock | None = None
    days: Annotated[tuple[Day, ...] | None, BeforeValidator(_parts)] = None
    timezone: Annotated[StrictStr, AfterValidator(_zone)] | None = None
    factor: Annotated[float, Field(strict=True, gt=1, le=1000)] = 2.0
    quiet_hours: Annotated[tuple[time, time] | None, BeforeValidator(_hours)] = None
    group_seconds: Annotated[StrictInt, Field(ge=0, le=86_400)] = 30
    enabled: StrictBool = True

    @field_validator("config")
    @classmethod
    def _small(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            written = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError("holds what JSON cannot, such as a date or NaN; write it in quotes") from error
        if len(written) > LONGEST_CONFIG:
            raise ValueError(f"has more than {LONGEST_CONFIG} characters; shorten it")
        return value

    @model_validator(mode="after")
    def _whole(self) -> AlertRule:
        if by_time := BY_TIME & set(self.events):
            names = " and ".join(sorted(by_time))
            if self.at_time is None or self.workflow_id is None:
                raise ValueError(f"{names} needs workflow_id and at_time, by when the workflow is to have ended or started")
            if self.task_id is not None:
                raise ValueError(f"{names} is about batches; leave task_id empty")
            if self.at_time == self.from_time:
                raise ValueError("from_time and at_time are the same; batches are looked for between them")
        return self

    def covers(self, workflow_id: str, event: str) -> bool:
        """Tell whether the rule is about such an event of a workflow."""
        return self.enabled and event in self.events and self.workflow_id in (None, workflow_id)

    @property
    def zone(self) -> ZoneInfo:
        """Zone of all times of day of the rule."""
        return ZoneInfo(self.timezone or "UTC")

    @property
    def digest(self) -> str:
        """What changes when the rule is about other events than before."""
        about = self.model_dump_json(exclude={"notifier", "config", "quiet_hours", "group_seconds"})
        return hashlib.sha256(about.encode()).hexdigest()


@dataclass(frozen=True)
class ReadRules:
    """
    Rules as they were found.

    :param rules: those that can be used.
    :param problems: rule id → what is wrong with it, for people.
    """

    rules: tuple[AlertRule, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


def read_rules(rows: Iterable[Mapping[str, Any]], allowed: Collection[str]) -> ReadRules:
    """
    Check rows.

    :param rows: dicts with the columns of ``alert_rules`` that are people's; None or an empty text stands for a column's default.
    :param allowed: patterns of notifiers that rules may use, see ``[accelerator] notifiers``.
    """
    allowed, rules, problems = tuple(allowed), [], {}
    for row in rows:
        name = one_line(row.get("rule_id"), 200)
        try:
            rule = AlertRule.model_validate({column: value for column, value in row.items() if value not in (None, "")})
            check_allowed(rule.notifier, allowed)
        except ValidationError as error:
            problems[name] = one_line("; ".join(_described(one) for one in error.errors()), _LONGEST_PROBLEM)
        except ConfigurationError as error:
            problems[name] = one_line(error, _LONGEST_PROBLEM)
        else:
            rules.append(rule)
    return ReadRules(tuple(rules), problems)


def check_allowed(notifier: str, allowed: Collection[str]) -> None:
    """
    Refuse a notifier that rules may not use.

    :raises ConfigurationError: no pattern matches it.
    """
    if not any(fnmatchcase(notifier, pattern) for pattern in allowed):
        raise ConfigurationError(
            f"the notifier {quoted(notifier)} is not in [accelerator] notifiers ({', '.join(allowed) or 'none'}) of the process "
            "that says this; add it there, and start Airflow again."
        )


def _described(error: Any) -> str:
    column = ".".join(str(part) for part in error["loc"][:1])
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"column {column}: {said}" if column else said
