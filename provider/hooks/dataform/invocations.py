"""Reads Dataform's resources: state, result and one error line of an invocation, errors of a compilation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.paths import is_part
from provider.hooks.remote_job import AcceptedWithoutIdError, JobStatus, RemoteCallError, RemoteJob
from provider.texts import one_line, sentence, storable

if TYPE_CHECKING:
    from google.cloud.dataform_v1 import CompilationResult, Target, WorkflowInvocation, WorkflowInvocationAction

NOUN = "Dataform workflow invocation"
#: How many failed actions, or compilation errors, an error line names.
NAMED = 10
#: Longest reason, in characters, that is taken from the service.
REASON_LENGTH = 400
#: The same for the result, where it may have several lines.
STORED_LENGTH = 4000

QUERY_PRIORITIES = ("INTERACTIVE", "BATCH")

T = TypeVar("T")

_DONE = frozenset({"SUCCEEDED"})
_FAILED = frozenset({"FAILED", "CANCELLED"})


def checked_name(name: str, collection: str) -> str:
    """
    Return the full name of something in a repository.

    :raises ValueError: it is none.
    """
    parts = name.split("/")
    fixed = ["projects", "locations", "repositories", collection]
    if len(parts) != 2 * len(fixed) or parts[::2] != fixed or not all(map(is_part, parts[1::2])):
        raise ValueError(f"is no name in {collection}: projects/…/locations/…/repositories/…/{collection}/…")
    return name


def checked_repository(name: str) -> str:
    """
    Return the full name of a repository.

    :raises ValueError: it is none.
    """
    return checked_name(f"{name}/workflowInvocations/any", "workflowInvocations").rpartition("/workflowInvocations/")[0]


def received(answer: T | None, request: str, *, changes: bool = False) -> T:
    """
    Return an answer of the client. The asynchronous one returns None for one that it cannot read.

    :raises RemoteCallError: there is none.
    """
    if answer is None:
        raise RemoteCallError(f"{request}: the answer is unreadable.", maybe_done=changes)
    return answer


def is_named(invocation: WorkflowInvocation) -> bool:
    """Whether an invocation in a list can be told by its name."""
    try:
        return bool(job(invocation.name))
    except ValueError:
        return False


def created_job(name: str, request: str) -> RemoteJob:
    """
    Return the handle of an invocation that the service has created.

    :raises AcceptedWithoutIdError: the answer does not name it.
    """
    try:
        return job(name)
    except ValueError as error:
        raise AcceptedWithoutIdError(f"{request} was accepted, and its answer names no workflow invocation.") from error


def job(name: str) -> RemoteJob:
    """
    Return the handle of an invocation, from its full name.

    :raises ValueError: it is none.
    """
    _, project, _, region, _, repository, _, invocation = checked_name(name, "workflowInvocations").split("/")
    parts = [quote(part, safe="") for part in (region, repository, invocation)]
    return {
        "id": invocation,
        "name": name,
        "url": "https://console.cloud.google.com/bigquery/dataform/locations/{}/repositories/{}/workflows/{}".format(*parts)
        + f"?project={quote(project, safe='')}",
    }


def started(invocation: WorkflowInvocation) -> datetime:
    """Return when an invocation began; one that does not tell has only just begun."""
    timing = invocation.invocation_timing  # a plain protobuf message, unlike its parent
    if not timing.HasField("start_time"):
        return datetime.now(tz=UTC)
    try:
        return cast("datetime", timing.start_time.ToDatetime(tzinfo=UTC))
    except (ValueError, OverflowError):
        return datetime.now(tz=UTC)


def word(resource: Any) -> str:
    """Return the name of a state; of one that this version of the client does not know, its number."""
    return str(getattr(resource.state, "name", resource.state))


def is_running(invocation: WorkflowInvocation) -> bool:
    """Whether an invocation has not ended; states this package does not know mean running."""
    return word(invocation) not in _DONE | _FAILED


def running(invocation: WorkflowInvocation) -> JobStatus:
    """Return the status of an invocation that has not ended."""
    return JobStatus("running", word(invocation))


def ended(
    handle: RemoteJob,
    invocation: WorkflowInvocation,
    actions: Sequence[WorkflowInvocationAction],
    incomplete: RemoteCallError | None = None,
) -> JobStatus:
    """
    Return the status of an invocation that has ended, with what became of its actions.

    :param incomplete: why the actions could not be read.
    """
    rows = [_row(action) for action in actions]
    result = {"workflow_invocation": handle["name"], "state": word(invocation), "actions": rows}
    if word(invocation) in _DONE:
        return JobStatus("done", word(invocation), result=result, incomplete=incomplete)
    failed = [row for row in rows if row["state"] == "FAILED"]
    skipped = sum(row["state"] == "SKIPPED" for row in rows)
    parts = [f"{NOUN} {handle['id']} ended as {word(invocation)}."]
    parts.extend(_failure(row) for row in failed[:NAMED])
    if len(failed) > NAMED:
        parts.append(f"{len(failed) - NAMED} more actions failed.")
    if skipped:
        parts.append(f"{skipped} actions that depend on them were skipped.")
    if incomplete is not None:
        parts.append(f"Its actions cannot be read: {incomplete}")
    parts.append(f"See {handle['url']}")
    return JobStatus("failed", word(invocation), " ".join(parts), result=result, incomplete=incomplete)


def _row(action: WorkflowInvocationAction) -> dict[str, Any]:
    return {
        "target": target_name(action.target),
        "state": word(action),
        "failure_reason": storable(action.failure_reason, STORED_LENGTH) or None,
        "job_id": _job_id(action),
    }


def _job_id(action: WorkflowInvocationAction) -> str | None:
    """Return the id of the BigQuery job that an action ran as; each kind of action has a field of its own."""
    for field in type(action).meta.fields:
        job_id = getattr(getattr(action, field), "job_id", "") if field.endswith("_action") and field in action else ""
        if job_id:
            return _named(job_id)
    return None


def _failure(row: Mapping[str, Any]) -> str:
    reason = sentence(row["failure_reason"] or "no reason given", REASON_LENGTH)
    query = f" (BigQuery job {row['job_id']})" if row["job_id"] else ""
    return f"{row['target']}: {reason}{query}."


def target_name(target: Target) -> str:
    """Return ``database.schema.name``, of the parts that are given."""
    return ".".join(_named(part) for part in (target.database, target.schema, target.name) if part)


def _named(text: str) -> str:
    """Return a name or a reason from the service as far as a line of ours has room for it."""
    return one_line(text, REASON_LENGTH)


def compiled(result: CompilationResult, request: str) -> str:
    """
    Return the name of a compilation result.

    :raises RemoteJobError: it has errors: names file and message; compiling the same code again cannot help.
    :raises RemoteCallError: it has no name.
    """
    errors = result.compilation_errors
    if not errors:
        try:
            return checked_name(result.name, "compilationResults")
        except ValueError as error:
            raise RemoteCallError(f"{request}: the answer names no compilation result.") from error
    lines = [
        f"{_named(error.path) or target_name(error.action_target) or 'project'}: {_named(error.message)}"
        for error in errors[:NAMED]
    ]
    if len(errors) > NAMED:
        lines.append(f"{len(errors) - NAMED} more")
    raise RemoteJobError(
        f"The Dataform code does not compile, nothing was run: {'; '.join(lines)}. Compilation result {_named(result.name)}.",
        retryable=False,
    )


def invocation_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the fields of ``InvocationConfig`` as plain JSON, with targets in their long form.

    :raises ConfigurationError: a target or the priority is not one.
    """
    config = dict(given)
    if targets := config.get("included_targets"):
        config["included_targets"] = [_target(target) for target in targets]
    if tags := config.get("included_tags"):
        config["included_tags"] = list(tags)
    if (priority := config.get("query_priority")) not in (None, *QUERY_PRIORITIES):
        raise ConfigurationError(f"query_priority is {priority!r}; use one of {', '.join(QUERY_PRIORITIES)}.")
    return config


def _target(target: str | Mapping[str, str]) -> dict[str, str]:
    if isinstance(target, str):
        # From the right: a project's id may contain dots (example.com:project).
        parts = target.rsplit(".", 2)
        target = dict(zip(("database", "schema", "name")[-len(parts) :], parts, strict=True))
    fields = {key: value for key, value in target.items() if value}
    if not fields.get("name") or not fields.keys() <= {"database", "schema", "name"}:
        raise ConfigurationError(
            f"included_targets has {target!r}; give 'database.schema.name' or an object with database, schema and name."
        )
    return fields
