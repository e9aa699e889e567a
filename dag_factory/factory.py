"""
Tables → DAGs, for every process that parses the DAG file.

The dag-processor gets the DAGs of all workflows; a task process gets its own, and of that only its own operator in full.
A workflow whose rows are bad or lost is built from the last good ones, and so is everything while the application database is
away: what is wrong goes to Airflow's list of import errors through a DAG file of its own, since an error in the file that
holds the DAGs would make every one of them vanish.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from airflow.sdk import DAG, get_parsing_context

from dag_factory import outage, problem_file, snapshot
from dag_factory.budget import Budget, seconds_allowed
from dag_factory.building import Built, Standing, Workshop, has_own_types
from dag_factory.predecessors import after_of, circular, followed, in_effect
from dag_factory.problems import MAX_LISTED, Problem, raise_problems, searches_bounded, shorten
from dag_factory.settling import losses_of, settle
from dag_factory.single_task import single_task_dag
from dag_factory.snapshot import DamagedSnapshotError, Snapshot, SnapshotError
from dag_factory.source import DefinitionsUnavailableError, Read, read_meant, read_rows, read_workflow
from dag_factory.task_types.registry import task_types
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Entry, Shard, by_workflow, to_entry, to_rows

__all__ = ["build_dags", "raise_definition_errors"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: All workflows in one DAG file.
WHOLE = Shard()


def build_dags(shard: int = 1, of: int = 1) -> dict[str, DAG]:
    """
    Return the DAGs that this process needs, by id. Never raises for what is wrong with rows or database.

    In a task process, and in commands that name a DAG, Airflow says which one is wanted; only its rows are read.

    :param shard: which part of the workflows the DAG file holds, from 1.
    :param of: how many such DAG files there are.
    """
    wanted, part = get_parsing_context(), Shard(shard, of)
    with _collector_paused():
        built = build_all(part) if wanted.dag_id is None else build_one(wanted.dag_id, part, only_task=wanted.task_id)
    for problem in built.problems[:MAX_LISTED]:
        log.warning("%s", problem)
    return built.dags


def raise_definition_errors(shards: int = 1) -> None:
    """
    Raise one error that lists everything wrong with the definitions, for a DAG file that holds nothing else.

    Airflow shows it as that file's import error, while the DAGs, which are in another file, stay. The problems are those that
    the last parse of that file found; nothing is read or built for it. A process that wants one DAG is told nothing.

    :param shards: how many DAG files hold the workflows.
    :raises DefinitionError: there are problems; the same ones give the same text at every parse.
    """
    if get_parsing_context().dag_id is None:
        found = [problem for number in range(1, shards + 1) for problem in problem_file.load(Shard(number, shards))]
        raise_problems(found, "Other workflows are not affected; these use their last good definitions, if any.")


@searches_bounded()
def build_all(shard: Shard = WHOLE) -> Built:
    """Build every workflow of a shard; keep the good definitions in the snapshot, and leave the problems beside it."""
    workshop = Workshop(task_types(), Budget(seconds_allowed()))
    last_good, may_save = _load_snapshot(shard, workshop.built)
    unread = list(workshop.built.problems)
    can_wait = bool(last_good.entries) or snapshot.path(shard).exists()
    try:
        read = _look(lambda: read_rows(shard, last_good.version), can_wait=can_wait)
    except DefinitionsUnavailableError as error:
        workshop.built.problems.append(_unavailable(error, can_wait=can_wait))
        _build_last_good(workshop, last_good)
    else:
        try:
            now = _build_read(workshop, read, last_good, shard)
        except Exception as error:  # noqa: BLE001 - whatever rows make of this code, no DAG that was good is lost by it
            workshop = Workshop(task_types(), workshop.budget)
            workshop.built.problems += [*unread, _of_no_use(error)]
            _build_last_good(workshop, last_good)
        else:
            if may_save:
                _save(now, shard, workshop.built)
    workshop.report(shard)
    try:
        problem_file.save(workshop.built.problems, shard)
    except SnapshotError as error:
        workshop.built.problems.append(Problem("", "definitions snapshot", str(error)))
    return workshop.built


def _build_read(workshop: Workshop, read: Read, last_good: Snapshot, shard: Shard) -> Snapshot:
    """Build every workflow from what was read, or from the last good definitions; return what is good now."""
    groups = by_workflow(read.rows)
    settled = settle(last_good, groups, read.meant)
    circles = [problem for problem in circular(read.predecessors, read.makers) if problem.workflow_id in shard]
    workshop.built.problems += [*settled.problems, *circles]
    elsewhere = snapshot.predecessors_elsewhere(shard)
    # Some may be built from their last good definitions, and go on to follow whom they follow there.
    workshop.followed = followed(read.predecessors) | followed(elsewhere) | followed(after_of(last_good.entries))
    # Whoever is in a circle stays what it was, if anything.
    in_circles = {problem.workflow_id for problem in circles}
    usable = {name: group for name, group in groups.items() if name not in in_circles}
    good = _build_groups(workshop, usable, last_good, settled.kept | (in_circles & last_good.entries.keys()))
    predecessors = in_effect(read.predecessors, good, shard, elsewhere)
    if predecessors != read.predecessors:  # else there are no other circles than those
        good = _without_circles(workshop, circular(predecessors, read.makers), good, last_good)
        predecessors = in_effect(read.predecessors, good, shard, elsewhere)
    waiting = {name: waits for name, waits in settled.waiting.items() if name in good}
    pending = {name: settled.meant[name] for name in losses_of(good, groups) if name in settled.meant}
    return Snapshot(good, waiting, settled.held, read.meant.newest, pending, predecessors)


def _build_last_good(workshop: Workshop, last_good: Snapshot) -> None:
    """Build every workflow from the last good definitions."""
    workshop.followed = followed(last_good.predecessors)
    for workflow_id in sorted(last_good.entries):
        workshop.make(workflow_id, None, last_good.entries[workflow_id], Standing.KNOWN)


def build_one(workflow_id: str, shard: Shard = WHOLE, *, only_task: str | None = None) -> Built:
    """
    Build one workflow; no other is read. What counts is what counts for the dag-processor, whose snapshot says it.

    :param only_task: the task this process runs, see :func:`dag_factory.workflow_dag.build_dag`.
    """
    types, unavailable = task_types(), None
    workshop = Workshop(types, Budget(float("inf")), only_task=only_task)
    if workflow_id not in shard:
        return workshop.built
    if only_task is not None and outage.reason() is None:
        try:
            dag = _look(lambda: single_task_dag(workflow_id, only_task, shard, types), can_wait=False)
        except DefinitionsUnavailableError as error:
            unavailable = error  # nobody waits for it twice
        else:
            if dag is not None:
                return Built({workflow_id: dag})
    try:
        last_good = snapshot.load(shard, workflow_id)
    except SnapshotError as error:
        workshop.built.problems.append(Problem("", "definitions snapshot", str(error)))
        last_good = Snapshot()
    entry = last_good.entries.get(workflow_id)
    try:
        if unavailable is not None:
            raise unavailable
        rows, predecessors = _look(lambda: read_workflow(workflow_id), can_wait=entry is not None)
        counts = entry is None or _counts(workflow_id, rows, entry, last_good, shard)
        workshop.followed = followed(predecessors) | followed(last_good.predecessors)
        used = rows if counts else None
        workshop.make(workflow_id, used, entry, Standing.of(used, entry))
    except DefinitionsUnavailableError as error:
        problem = _unavailable(error, can_wait=entry is not None)
    except Exception as error:  # noqa: BLE001 - whatever rows make of this code, the task has a last good definition
        problem = _of_no_use(error)
    else:
        return workshop.built
    workshop.built.problems.append(problem)
    workshop.followed = followed(last_good.predecessors)
    workshop.make(workflow_id, None, entry, Standing.KNOWN)
    return workshop.built


def _build_groups(
    workshop: Workshop, groups: Mapping[str, DefinitionRows], last_good: Snapshot, kept: frozenset[str]
) -> dict[str, Entry]:
    """
    Build all workflows; return the good rows of each, those of the last time included.

    Whoever Airflow knows comes first, and of those the unchanged ones: they are the ones to lose. What brings operators of
    other packages comes last of its kind: how long their import takes is not for others to bear.
    """
    known, types = last_good.entries, task_types()

    used = {workflow_id: None if workflow_id in kept else groups[workflow_id] for workflow_id in groups.keys() | kept}

    def turn(workflow_id: str) -> tuple[Standing, bool, str]:
        rows = used[workflow_id]
        meant = to_rows([known[workflow_id]]) if rows is None else rows
        return Standing.of(rows, known.get(workflow_id)), not has_own_types(meant, types), workflow_id

    good: dict[str, Entry] = {}
    for standing, _, workflow_id in sorted(map(turn, used)):
        rows = used[workflow_id]
        if workshop.make(workflow_id, rows, known.get(workflow_id), standing) and rows is not None:
            good[workflow_id] = to_entry(rows)
        elif workflow_id in known:
            good[workflow_id] = known[workflow_id]
    return good


def _without_circles(
    workshop: Workshop, circles: Iterable[Problem], good: Mapping[str, Entry], last_good: Snapshot
) -> dict[str, Entry]:
    """
    Take back the changes by which workflows come after one another in a circle; return what is good then.

    The rows make none, but a workflow whose rows cannot be used stays what it was.
    """
    left = dict(good)
    for problem in circles:
        name = problem.workflow_id
        before = last_good.entries.get(name)
        if name not in left or left[name] == before:
            continue
        workshop.built.problems.append(problem)
        workshop.built.dags.pop(name, None)
        del left[name]
        if before is not None:
            left[name] = before
            workshop.make(name, None, before, Standing.KNOWN)
    return left


def _counts(workflow_id: str, rows: DefinitionRows, entry: Entry, last_good: Snapshot, shard: Shard) -> bool:
    """Return whether the rows are what the dag-processor would build from."""
    loss = losses_of({workflow_id: entry}, {workflow_id: rows}).get(workflow_id)
    if loss is None or not snapshot.is_followed(snapshot.path(shard)) or last_good.was_meant(workflow_id, loss):
        return True
    return bool(rows.workflows) and read_meant(workflow_id, last_good.version).covers(workflow_id, to_entry(rows))


def _look(read: Callable[[], T], *, can_wait: bool) -> T:
    """
    Read, unless another process has just found that it cannot be done.

    :param can_wait: there is something to fall back on.
    """
    if can_wait and (reason := outage.reason()) is not None:
        raise DefinitionsUnavailableError(reason)
    try:
        found = read()
    except DefinitionsUnavailableError as error:
        outage.begins(str(error))
        raise
    outage.ends()
    return found


def _load_snapshot(shard: Shard, built: Built) -> tuple[Snapshot, bool]:
    """Return the snapshot, and whether it may be replaced: not while it is there and cannot be read."""
    found, may_save = Snapshot(), True
    try:
        found = snapshot.load(shard)
    except DamagedSnapshotError:
        try:
            snapshot.put_aside(shard)
        except SnapshotError as error:
            built.problems.append(Problem("", "definitions snapshot", str(error)))
            may_save = False
    except SnapshotError as error:
        built.problems.append(Problem("", "definitions snapshot", str(error)))
        may_save = False
    built.problems += [
        Problem("", "definitions snapshot", f"{file} is damaged, or another version's, and was put aside; delete it to go on")
        for file in snapshot.damaged(shard)
    ]
    return found, may_save


def _save(good: Snapshot, shard: Shard, built: Built) -> None:
    try:
        snapshot.save(good, shard)
    except (SnapshotError, ValueError, TypeError, RecursionError) as error:
        built.problems.append(Problem("", "definitions snapshot", str(error)))


def _unavailable(error: DefinitionsUnavailableError, *, can_wait: bool) -> Problem:
    if can_wait:
        state = f"DAGs are built from the last good definitions in {snapshot.folder()}"
    else:
        state = f"there are no last good definitions in {snapshot.folder()}, so there are no DAGs"
    return Problem("", "application database", f"the workflow tables cannot be read: {str(error).rstrip('.')}. {state}")


def _of_no_use(error: Exception) -> Problem:
    """Return the problem of rows that were read, and that this package fails on; the log has where."""
    log.exception("The rows of the workflow tables cannot be used.")
    text = (
        f"the rows of the workflow tables cannot be used: {type(error).__name__}: {shorten(error, 300)}; DAGs are built from the "
        "last good definitions, and the log has the traceback, to report"
    )
    return Problem("", "application database", text)


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
