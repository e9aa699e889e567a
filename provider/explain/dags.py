"""Why Airflow does not go on with a workflow at all: its processes, and the DAG of the workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dag_factory import problem_file
from dag_factory.problems import IN_DEFINITIONS
from dag_factory.validation import validate
from provider.airflow_internals.secrets import redact
from provider.airflow_view.view import DagState, RunsView
from provider.explain.answers import Answer, listed, moment, passes, stops
from provider.texts import first_line

#: Stands for what only those may read who may see all workflows.
_OF_OTHERS = "what is wrong may name workflows that you do not see; ask somebody who sees all of them"


def explain_dag(workflow_id: str, view: RunsView) -> list[Answer]:
    """
    Return the answers of the rules for what all runs of a workflow need: a scheduler, and a DAG that is not paused.

    :raises RemoteCallError: Airflow could not be asked.
    """
    scheduler = view.health().get("scheduler") or {}
    if scheduler.get("status") != "healthy":
        seen = moment(scheduler.get("latest_scheduler_heartbeat"))
        return [stops("scheduler", f"No scheduler is alive, last heartbeat {seen}.", "Start `airflow scheduler`.")]
    answers = [passes("scheduler", "A scheduler is alive.")]
    dag = view.dag(workflow_id)
    if dag is None or dag.stale:
        return [*answers, explain_missing(workflow_id, dag, view)]
    if dag.paused:
        remedy = f"`accelerator resume {workflow_id}`, or its switch in Airflow."
        return [*answers, stops("paused", f"DAG {workflow_id} is paused.", remedy)]
    return [*answers, passes("dag", f"DAG {workflow_id} is there and not paused.")]


def explain_missing(workflow_id: str, dag: DagState | None, view: RunsView) -> Answer:
    """
    Say why Airflow has no DAG of a workflow.

    :param dag: the stale DAG that it had; None where it never had one.
    :raises RemoteCallError: Airflow could not be asked.
    """
    broken = [one for one in view.import_errors(workflow_id) if not tells_of_definitions(one)]
    if broken and dag is not None:
        return stops(
            "import error", f"DAG {workflow_id} is gone: {_told(broken[0])}.", "Correct that file, or the packages it needs."
        )
    problems = _problems(workflow_id, everything=view.sees_all)
    if problems is None:
        return stops("definition", f"Table workflows has no row {workflow_id}, so there is no DAG.", "Import the workflow again.")
    if problems:
        more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
        first = first_line(redact(problems[0]), 300).rstrip(".")
        reason = f"Airflow has no DAG {workflow_id}, as its definition is broken: {first}{more}."
        return stops("definition", reason, "Correct its rows: `accelerator validate` lists all that is wrong.")
    processor = view.health().get("dag_processor")
    if processor is not None and processor.get("status") != "healthy":
        seen = moment(processor.get("latest_dag_processor_heartbeat"))
        reason = f"Airflow has no DAG {workflow_id}, and no dag-processor is alive, last heartbeat {seen}."
        return stops("dag-processor", reason, "Start `airflow dag-processor`.")
    if broken:
        which = listed([str(one.get("filename")) for one in broken])
        reason = (
            f"Airflow has no DAG {workflow_id}, and there are DAG files that cannot be imported: {which}. {_told(broken[0])}."
        )
        return stops("import error", reason, "Correct the file that makes it, or the packages it needs.")
    remedy = "Wait for the next parse; see that the files of `accelerator init` are in the folder of the dag-processor."
    return stops("dag", f"No DAG file defines {workflow_id}{' any more' if dag else ' yet'}.", remedy)


def tells_of_definitions(error: Mapping[str, Any]) -> bool:
    """Tell whether an import error is that of the file which shows wrong definitions: these are looked at by themselves."""
    return IN_DEFINITIONS in str(error.get("stack_trace"))


def _told(error: Mapping[str, Any]) -> str:
    lines = [line for line in str(error.get("stack_trace") or "").splitlines() if line.strip()]
    why = f", {first_line(redact(lines[-1].strip()), 300).rstrip('.')}" if lines else ""
    return f"{error.get('filename')} cannot be imported{why}"


def _problems(workflow_id: str, *, everything: bool) -> Sequence[str] | None:
    """
    Return what is wrong with the rows of a workflow, and what its last parse here has met beside that; None without rows.

    :param everything: that what the last parse has met is told: it may name other workflows.
    """
    from provider.metadata.definition_rows import read_definitions
    from provider.metadata.engine import read_session

    with read_session() as session:
        rows = read_definitions(session, [workflow_id])
    if not rows.workflows:
        return None
    found = validate(rows).problems
    of_parse = [one for one in problem_file.load_followed() or () if one not in found]
    told = [str(one) for one in found if one.workflow_id == workflow_id]
    beside = [str(one) for one in of_parse if one.workflow_id == workflow_id]
    return told + (beside if everything else [_OF_OTHERS] * bool(beside))
