"""Reads Dataform's resources: state, result and one error line of an invocation, errors of a compilation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.remote_job import JobStatus, RemoteCallError, RemoteJob
from provider.texts import one_line, sentence

if TYPE_CHECKING:
    from google.cloud.dataform_v1 import CompilationResult, Target, WorkflowInvocation, WorkflowInvocationAction

NOUN = "Dataform workflow invocation"
#: How many failed actions, or compilation errors, an error line names.
NAMED = 10
#: Longest reason, in characters, that is taken from the service.
REASON_LENGTH = 400

QUERY_PRIORITIES = ("INTERACTIVE", "BATCH")

_DONE = frozenset({"SUCCEEDED"})
_FAILED = frozenset({"FAILED", "CANCELLED"})


def job(name: str) -> RemoteJob:
    """Return the handle of an invocation, from its full name."""
    _, project, _, region, _, repository, _, invocation = name.split("/")
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
    return cast("datetime", timing.start_time.ToDatetime(tzinfo=UTC))


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
        "failure_reason": action.failure_reason or None,
        "job_id": action.bigquery_action.job_id or action.notebook_action.job_id or None,
    }


def _failure(row: Mapping[str, Any]) -> str:
    reason = sentence(row["failure_reason"] or "no reason given", REASON_LENGTH)
    query = f" (BigQuery job {row['job_id']})" if row["job_id"] else ""
    return f"{row['target']}: {reason}{query}."


def target_name(target: Target) -> str:
    """Return ``database.schema.name``, of the parts that are given."""
    return ".".join(part for part in (target.database, target.schema, target.name) if part)


def raise_for_compilation(result: CompilationResult) -> None:
    """
    Refuse a compilation with errors.

    :raises RemoteJobError: names file and message; compiling the same code again cannot help.
    """
    errors = result.compilation_errors
    if not errors:
        return
    lines = [
        f"{error.path or target_name(error.action_target) or 'project'}: {one_line(error.message, REASON_LENGTH)}"
        for error in errors[:NAMED]
    ]
    if len(errors) > NAMED:
        lines.append(f"{len(errors) - NAMED} more")
    raise RemoteJobError(
        f"The Dataform code does not compile, nothing was run: {'; '.join(lines)}. Compilation result {result.name}.",
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
