"""What a row of ``workflows`` and ``tasks`` may say; typed, frozen, without Airflow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from jsonschema import Draft202012Validator, FormatChecker
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from dag_factory.expansion import MOST_INSTANCES, check_items
from dag_factory.problems import suggestion
from dag_factory.schedules import check_schedule, check_timezone, missed_run, parse_start_date
from provider.metadata.file_patterns import check_file_pattern
from provider.metadata.rows import is_asset
from provider.plain_data import as_list
from provider.run_conf import FORM_KEYS
from provider.texts import one_line, quoted

__all__ = ["TaskOptions"]

#: Airflow allows 250 characters, but makes a folder ``task_id=<id>`` of it, and a folder's name ends at 255 bytes.
MAX_ID_BYTES = 240

START_BATCH = "start_batch"
BATCH_WATCHER = "batch_watcher"
#: Tasks that the factory adds to a workflow, and what they are for.
RESERVED_TASK_IDS = {START_BATCH: "opens every batch", BATCH_WATCHER: "fails a batch in which a task failed"}

RESERVED_WORKFLOW_PREFIX = "accelerator_"

_DAY = 86_400

#: Formats of JSON Schema, and the one that only Airflow's trigger form knows. Airflow takes any word, and checks nothing by it.
PARAM_FORMATS = frozenset(
    {
        *("date", "date-time", "time", "duration", "multiline", "regex", "uuid", "email", "idn-email", "hostname"),
        *("idn-hostname", "ipv4", "ipv6", "uri", "uri-reference", "uri-template", "iri", "iri-reference"),
        *("json-pointer", "relative-json-pointer"),
    }
)

ParamType = Literal["string", "integer", "number", "boolean", "array", "object", "null"]
OneOrMoreTypes = Annotated[
    tuple[ParamType, ...], BeforeValidator(as_list, json_schema_input_type=ParamType | tuple[ParamType, ...])
]


def check_id(value: str) -> str:
    """
    Check an id by Airflow's rule for keys, of which only ASCII is taken.

    Airflow's rule allows letters of every alphabet. But ``airflow dags test`` asks for XComs by an address in which its
    in-process client does not encode them, and one letter may be written in two ways that look alike in a message.

    :raises ValueError: characters or length that cannot be used.
    """
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("may hold letters, digits, '_', '-' and '.' only; rename it")
    if not value.isascii():
        foreign = next(character for character in value if not character.isascii())
        raise ValueError(f"has {quoted(foreign)}, but only letters a to z can be used with `airflow dags test`; rename it")
    if not value.strip("."):
        raise ValueError("consists of dots only, which an address would take for a folder; rename it")
    if len(value.encode()) > MAX_ID_BYTES:
        raise ValueError(f"is longer than {MAX_ID_BYTES} bytes; shorten it")
    return value


def _check_workflow_id(value: str) -> str:
    if value.startswith(RESERVED_WORKFLOW_PREFIX):
        raise ValueError(f"starts with {RESERVED_WORKFLOW_PREFIX}, which is kept for the DAGs of this package; rename it")
    return check_id(value)


def _check_task_id(value: str) -> str:
    if value in RESERVED_TASK_IDS:
        raise ValueError(f"{value} is the task that {RESERVED_TASK_IDS[value]}; rename it")
    return check_id(value)


def _check_group(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise ValueError("may hold letters, digits, '_' and '-' only; rename it")
    return _check_task_id(value)


def _check_param_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value):
        raise ValueError("must start with a letter and go on with letters, digits and '_'; rename it")
    if value in FORM_KEYS:
        raise ValueError(f"{value} is a param of every workflow already; rename it")
    if hasattr(dict, value):
        raise ValueError(f"params.{value} has another meaning in a template; rename it")
    return value


def _check_format(value: str) -> str:
    if value not in PARAM_FORMATS:
        raise ValueError(f"{quoted(value)} is not a format; {suggestion(value, PARAM_FORMATS, 'formats are')}")
    return value


def _date_as_text(value: Any) -> Any:
    """Give YAML's dates the form they have in the table."""
    return value.isoformat() if isinstance(value, date | datetime) else value


#: The address of an asset: a scheme, and what it may name. An Asset that Airflow refuses is refused when the DAG is built.
_ASSET_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")
#: Its longest one: Airflow has an index over name and URI of an asset, which are the same here, and PostgreSQL takes 2,704 bytes.
_LONGEST_URI = 1000
#: Scheme of the assets that stand for successful batches.
WORKFLOW_SCHEME = "x-accelerator"
#: Assets of one workflow: Airflow asks for all those of a DAG file in one statement.
MOST_ASSETS = 1000


def _check_asset_uri(value: str) -> str:
    if not _ASSET_URI.fullmatch(value):
        raise ValueError(f"{quoted(value)} is not the URI of an asset; write it like bigquery://project/dataset/table")
    if value.lower().startswith(f"{WORKFLOW_SCHEME}://"):
        raise ValueError(f"{quoted(value)} is made by a batch alone; write the workflow's id into after")
    if "?" in value or "#" in value:
        raise ValueError("the URI of an asset must have no query and no fragment; take out what begins with ? or #")
    if "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError("the URI of an asset must name no user or password; take it out")
    return value


def _check_predecessor(value: str) -> str:
    return _check_asset_uri(value) if is_asset(value) else _check_workflow_id(value)


WorkflowId = Annotated[StrictStr, AfterValidator(_check_workflow_id)]
TaskId = Annotated[StrictStr, AfterValidator(_check_task_id)]
Seconds = Annotated[StrictInt, Field(ge=1, le=366 * _DAY)]
Count = Annotated[StrictInt, Field(ge=1, le=10_000)]
AssetUri = Annotated[StrictStr, Field(max_length=_LONGEST_URI), AfterValidator(_check_asset_uri)]
Predecessor = Annotated[StrictStr, Field(max_length=_LONGEST_URI), AfterValidator(_check_predecessor)]
T = TypeVar("T")
OneOrMore = Annotated[tuple[T, ...], BeforeValidator(as_list, json_schema_input_type=T | tuple[T, ...])]
DisplayName = Annotated[StrictStr, Field(min_length=1, max_length=250)]
Bound = Annotated[StrictFloat, Field(allow_inf_nan=False)]


class Spec(BaseModel):
    """Base of everything read from a row: unknown keys are refused, nothing changes afterwards."""

    # Its schema is made when it is first used: making it takes most of the import.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class TaskOptions(Spec):
    """
    Options of a task that do not depend on its type; None means that the next level decides.

    The levels are task type, workflow (``default_args``) and task; the last one that says something wins.

    :param retries: how often a failed task is tried again.
    :param retry_delay_seconds: seconds between two tries.
    :param retry_backoff: how many times as long as the one before each wait is (``retry_exponential_backoff``).
    :param max_retry_delay_seconds: longest wait between two tries.
    :param timeout_seconds: seconds after which a try is ended (``execution_timeout``).
    :param pool: Airflow pool, and ``pool_slots`` how many of its slots a try takes.
    :param priority: Airflow's ``priority_weight``, and ``weight_rule`` what of other tasks counts to it.
    :param executor: one of ``[core] executor``, by its name or alias, and ``queue`` of it.
    :param depends_on_past: wait until the task has succeeded, or was skipped, in the run before, by logical date: a run that a
        message starts has none.
    :param max_active_tis_per_dag: tries at once in all batches, and ``max_active_tis_per_dagrun`` in one.
    """

    retries: Annotated[StrictInt, Field(ge=0, le=1000)] | None = None
    retry_delay_seconds: Annotated[StrictInt, Field(ge=0, le=31 * _DAY)] | None = None
    retry_backoff: Annotated[float, Field(strict=True, ge=1, le=100, allow_inf_nan=False)] | None = None
    max_retry_delay_seconds: Seconds | None = None
    timeout_seconds: Seconds | None = None
    pool: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = None
    pool_slots: Count | None = None
    priority: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    weight_rule: Literal["downstream", "upstream", "absolute"] | None = None
    queue: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = None
    executor: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = None
    depends_on_past: StrictBool | None = None
    max_active_tis_per_dag: Count | None = None
    max_active_tis_per_dagrun: Count | None = None
    owner: Annotated[StrictStr, Field(min_length=1, max_length=200)] | None = None

    def said(self) -> Iterator[tuple[str, Any]]:
        """Yield name and value of the options that are said."""
        for name in TaskOptions.model_fields:
            if (value := getattr(self, name)) is not None:
                yield name, value


class ParamSpec(Spec):
    """
    One parameter of a workflow's runs: an Airflow Param.

    Without ``default`` and ``required`` the parameter may be left out and is null then.

    :param type: JSON types that a value may have.
    :param minimum: smallest number; ``maximum`` the largest.
    :param format: format of a text, such as ``date`` or ``date-time``.
    """

    name: Annotated[StrictStr, AfterValidator(_check_param_name)]
    default: Any = None
    type: Annotated[OneOrMoreTypes, Field(min_length=1)] = ("string",)
    title: StrictStr | None = None
    description: StrictStr | None = None
    enum: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    format: Annotated[StrictStr, AfterValidator(_check_format)] | None = None
    minimum: Bound | None = None
    maximum: Bound | None = None
    required: StrictBool = False

    @property
    def has_default(self) -> bool:
        """Whether a run may leave the parameter out."""
        return not self.required or "default" in self.model_fields_set

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema that values are checked by; null is allowed where it is the default."""
        nullable = self.has_default and self.default is None
        types = [*self.type, *(["null"] if nullable and "null" not in self.type else [])]
        schema: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
        if self.enum is not None:
            schema["enum"] = [*self.enum, *([None] if nullable and None not in self.enum else [])]
        for name in ("title", "format", "minimum", "maximum"):
            if (value := getattr(self, name)) is not None:
                schema[name] = value
        return schema

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum of {self.name} is greater than maximum, so no value fits; correct one of them")
        if self.has_default:
            checker = Draft202012Validator(self.json_schema(), format_checker=FormatChecker())
            error = next(checker.iter_errors(self.default), None)
            if error is not None:
                raise ValueError(f"default of {self.name} does not fit: {one_line(error.message, 200)}")
        return self


class WorkflowOptions(Spec):
    """A row of ``workflows``: the options of a DAG."""

    workflow_id: WorkflowId
    description: StrictStr | None = None
    schedule: Annotated[StrictStr, AfterValidator(check_schedule)] | None = None
    timezone: Annotated[StrictStr, AfterValidator(check_timezone)] = "UTC"
    start_date: Annotated[StrictStr, BeforeValidator(_date_as_text)] | None = None
    end_date: Annotated[StrictStr, BeforeValidator(_date_as_text)] | None = None
    catchup: StrictBool = False
    enabled: StrictBool = True
    paused_at_first: StrictBool = False
    max_active_batches: Count = 16
    max_active_tasks: Count | None = None
    max_failed_batches: Count | None = None
    run_timeout_seconds: Seconds | None = None
    display_name: DisplayName | None = None
    doc: StrictStr | None = None
    default_args: TaskOptions = TaskOptions()
    params: tuple[ParamSpec, ...] = ()
    tags: tuple[Annotated[StrictStr, Field(min_length=1, max_length=100)], ...] = ()
    owner: Annotated[StrictStr, Field(min_length=1, max_length=200)] | None = None
    file_pattern: Annotated[StrictStr, Field(max_length=1000), AfterValidator(check_file_pattern)] | None = None
    file_min_size: Annotated[StrictInt, Field(ge=0, lt=2**63)] | None = None
    after: Annotated[OneOrMore[Predecessor], Field(max_length=100)] = ()

    @property
    def starts_at(self) -> datetime | None:
        """``start_date`` in the workflow's zone."""
        return None if self.start_date is None else parse_start_date(self.start_date, self.timezone)

    @property
    def ends_at(self) -> datetime | None:
        """``end_date`` in the workflow's zone."""
        return None if self.end_date is None else parse_start_date(self.end_date, self.timezone)

    def starts_at_once(self, now: datetime) -> str:
        """Return what Airflow starts as soon as it sees this workflow for the first time; empty where that is nothing."""
        if self.schedule is None or not self.enabled or self.paused_at_first:
            return ""
        due = missed_run(self.schedule, self.timezone, self.starts_at, now)
        if due is None:
            return ""
        if self.catchup:
            return f"Airflow starts all its runs since {self.start_date} at once, as catchup says"
        return (
            f"Airflow starts its run of {due:%Y-%m-%d %H:%M} ({self.timezone}) at once; write a start_date that is still to come "
            "where the first run is to be a later one"
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        counts = Counter(param.name for param in self.params)
        if double := sorted(name for name, count in counts.items() if count > 1):
            raise ValueError(f"params: {', '.join(double)} given more than once; keep one")
        for name, value in (("start_date", self.start_date), ("end_date", self.end_date)):
            if value is None:
                continue
            try:
                parse_start_date(value, self.timezone)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if self.starts_at is not None and self.ends_at is not None and self.ends_at < self.starts_at:
            raise ValueError("end_date: is before start_date, so no run is scheduled; correct one of them")
        if double := sorted(name for name, count in Counter(self.after).items() if count > 1):
            raise ValueError(f"after: {double[0]} given more than once; keep one")
        if self.workflow_id in self.after:
            raise ValueError(f"after: {self.workflow_id} would start itself for ever; take it out")
        starts = " and ".join(name for name, said in (("a schedule", self.schedule), ("after", self.after)) if said)
        if starts and (missing := [param.name for param in self.params if not param.has_default]):
            raise ValueError(f"params: {', '.join(missing)} must have a default, since {starts} starts runs without values")
        if self.schedule is not None and self.catchup and self.start_date is None:
            raise ValueError("catchup: needs a start_date to catch up from")
        return self


class TaskSpec(TaskOptions):
    """
    A row of ``tasks``: one operator.

    :param config: what the task type needs; once validated an instance of its model, of an expanded task one for each instance.
    :param expand: what the instances of the task differ in, see :mod:`dag_factory.expansion`; empty where there is one alone.
    :param on_parent_skip: ``skip`` (default) or ``run``: what to do when a parent was skipped or is disabled.
    :param run_if: a condition on the run's params and dates; where it does not hold, the task is skipped.
    :param task_group: tasks of one name are shown as a group.
    :param outlets: URIs of the assets that the task makes.
    """

    task_id: TaskId
    workflow_id: StrictStr
    task_type: StrictStr
    config: Any = Field(default_factory=dict)
    expand: Annotated[tuple[Any, ...], Field(max_length=MOST_INSTANCES), AfterValidator(check_items)] = ()
    enabled: StrictBool = True
    on_parent_skip: Literal["skip", "run"] = "skip"
    run_if: Annotated[StrictStr, Field(min_length=1, max_length=1000)] | None = None
    task_group: Annotated[StrictStr, Field(max_length=200), AfterValidator(_check_group)] | None = None
    outlets: Annotated[OneOrMore[AssetUri], Field(max_length=100)] = ()
    display_name: DisplayName | None = None
    doc: StrictStr | None = None

    @property
    def configs(self) -> tuple[Any, ...]:
        """The validated configuration of each instance."""
        return self.config if self.expand else (self.config,)


class WorkflowSpec(Spec):
    """
    A workflow that can be built.

    :param tasks: ordered by id.
    :param edges: (parent, child), ordered.
    :param is_followed: another workflow starts after it.
    """

    options: WorkflowOptions
    tasks: tuple[TaskSpec, ...]
    edges: tuple[tuple[str, str], ...]
    is_followed: bool = False

    @property
    def workflow_id(self) -> str:
        """The DAG's id."""
        return self.options.workflow_id

    def children(self) -> dict[str, list[str]]:
        """Return task id → ids of its children, with a key for every task."""
        children: dict[str, list[str]] = {task.task_id: [] for task in self.tasks}
        for parent, child in self.edges:
            children[parent].append(child)
        return children

    def parents(self) -> dict[str, list[str]]:
        """Return task id → ids of its parents, in their order, with a key for every task."""
        parents: dict[str, list[str]] = {task.task_id: [] for task in self.tasks}
        for parent, child in self.edges:
            parents[child].append(parent)
        return parents
