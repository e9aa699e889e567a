"""
Tables → DAGs, for every process that parses the DAG file.

The dag-processor gets the DAGs of all workflows; a task process gets its own, and of that only its own operator in full.
A workflow whose rows are bad is built from the last good ones, and so is everything while the application database is away:
what is wrong goes to Airflow's list of import errors through a DAG file of its own, since an error in the file that holds
the DAGs would make every one of them vanish.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from airflow.sdk import DAG, get_parsing_context

from dag_factory import snapshot
from dag_factory.problems import MAX_LISTED, Problem, raise_problems, shorten
from dag_factory.snapshot import Snapshot, SnapshotError
from dag_factory.source import DefinitionsUnavailableError, read_rows
from dag_factory.specs import WorkflowSpec
from dag_factory.task_types.registry import TaskTypes, task_types
from dag_factory.validation import validate
from dag_factory.workflow_dag import build_dag
from provider.airflow_internals.dags import serialized
from provider.metadata.rows import DefinitionRows

__all__ = ["build_dags", "raise_definition_errors"]

log = logging.getLogger(__name__)


@dataclass
class Built:
    """
    What came of the definitions.

    :param dags: DAG id → DAG.
    :param problems: everything that a person has to repair.
    """

    dags: dict[str, DAG] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def build_dags() -> dict[str, DAG]:
    """
    Return the DAGs that this process needs, by id. Never raises for what is wrong with rows or database.

    In a task process, and in commands that name a DAG, Airflow says which one is wanted; only its rows are read.
    """
    wanted = get_parsing_context()
    with _collector_paused():
        built = build_all() if wanted.dag_id is None else build_one(wanted.dag_id, only_task=wanted.task_id)
    for problem in built.problems[:MAX_LISTED]:
        log.warning("%s", problem)
    return built.dags


def raise_definition_errors() -> None:
    """
    Raise one error that lists everything wrong with the definitions, for a DAG file that holds nothing else.

    Airflow shows it as that file's import error, while the DAGs, which are in another file, stay. A process that wants one
    DAG is told nothing.

    :raises DefinitionError: there are problems; the same ones give the same text at every parse.
    """
    if get_parsing_context().dag_id is None:
        raise_problems(build_all().problems, "Other workflows are not affected; these use their last good definitions, if any.")


def build_all() -> Built:
    """Build every workflow, and keep the good definitions in the snapshot."""
    types, built = task_types(), Built()
    last_good = _load_snapshot(built)
    try:
        rows = read_rows()
    except DefinitionsUnavailableError as error:
        built.problems.append(_unavailable(error, len(last_good.entries)))
        _build_last_good(last_good, list(last_good.entries), types, built)
        return built
    good = _build_rows(rows, types, built)
    present = {row["workflow_id"] for row in rows.workflows}
    missing = snapshot.still_missing(last_good, present)
    if missing:
        built.problems.append(_missing(missing, len(last_good.entries)))
    kept = [*sorted(set(last_good.entries) & (present - good)), *missing]
    _build_last_good(last_good, kept, types, built)
    try:
        old = {workflow_id: last_good.entries[workflow_id] for workflow_id in kept}
        snapshot.save(Snapshot(snapshot.by_workflow(rows, good) | old, frozenset(missing)))
    except SnapshotError as error:
        built.problems.append(Problem("", "definitions snapshot", str(error)))
    return built


def build_one(workflow_id: str, *, only_task: str | None = None) -> Built:
    """
    Build one workflow; no other is read.

    :param only_task: the task this process runs, see :func:`dag_factory.workflow_dag.build_dag`.
    """
    types, built = task_types(), Built()
    try:
        rows = read_rows(workflow_id)
    except DefinitionsUnavailableError as error:
        last_good = _load_snapshot(built)
        built.problems.append(_unavailable(error, len(last_good.entries)))
    else:
        if _build_rows(rows, types, built, only_task=only_task):
            return built
        last_good = _load_snapshot(built)
    _build_last_good(last_good, [workflow_id], types, built, only_task=only_task)
    return built


def _build_rows(rows: DefinitionRows, types: TaskTypes, built: Built, *, only_task: str | None = None) -> set[str]:
    """Build what the rows say; return the workflows that came out."""
    validated = validate(rows, types)
    built.problems += validated.problems
    return _build_specs(validated.workflows, types, built, only_task=only_task)


def _build_last_good(
    last_good: Snapshot, workflow_ids: list[str], types: TaskTypes, built: Built, *, only_task: str | None = None
) -> None:
    """Build workflows from the snapshot. What is wrong there was reported when its rows were."""
    validated = validate(last_good.rows(workflow_ids), types)
    built.problems += [
        Problem(problem.workflow_id, f"{problem.row} (of the last good definitions)", problem.message)
        for problem in validated.problems
    ]
    _build_specs(validated.workflows, types, built, only_task=only_task)


def _build_specs(specs: dict[str, WorkflowSpec], types: TaskTypes, built: Built, *, only_task: str | None) -> set[str]:
    good = set()
    for workflow_id, spec in specs.items():
        try:
            dag = build_dag(spec, types, only_task=only_task)
            if only_task is None and not all(types.is_built_in(task.task_type) for task in spec.tasks):
                # One that Airflow cannot store would make every DAG of the file vanish.
                serialized(dag)
        except Exception as error:  # noqa: BLE001 - whatever an operator raises must not cost the other workflows
            text = f"cannot be built: {type(error).__name__}: {shorten(error, 500)}; correct its rows"
            built.problems.append(Problem(workflow_id, f"workflows row {workflow_id}", text))
        else:
            built.dags[workflow_id] = dag
            good.add(workflow_id)
    return good


def _load_snapshot(built: Built) -> Snapshot:
    try:
        return snapshot.load()
    except SnapshotError as error:
        built.problems.append(Problem("", "definitions snapshot", str(error)))
        return Snapshot()


def _unavailable(error: DefinitionsUnavailableError, count: int) -> Problem:
    if count:
        state = f"{count} workflow{'s are' if count > 1 else ' is'} built from the last good definitions in {snapshot.path()}"
    else:
        state = f"there are no last good definitions in {snapshot.path()}, so there are no DAGs"
    return Problem("", "application database", f"the workflow tables cannot be read: {error}. {state}")


def _missing(missing: list[str], count: int) -> Problem:
    names = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
    return Problem(
        "",
        "workflows",
        f"{len(missing)} of {count} workflows are gone from the table at once ({names}), which looks like another or an empty "
        "database, so their last good definitions are used on. If they were deleted on purpose, delete the file "
        f"{snapshot.path()}; if not, check [accelerator] sql_alchemy_conn",
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector: it would look through ever more living operators and find nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
