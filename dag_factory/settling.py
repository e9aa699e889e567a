"""
What counts as lost, and when a loss counts.

Rows that are added or changed count at once. Whoever writes SQL statement by statement, or a database that is suddenly
another one, makes tasks and edges disappear; such a change counts when two parses in a row read the same, or at once when it
came by a command. Where so much is gone at once that it looks like an accident, somebody has to confirm it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from dag_factory.problems import Problem, unchecked
from dag_factory.snapshot import Snapshot, Waiting
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Entry, Loss, Meant, digest, entry_of, to_entry

#: So far apart, in seconds, two parses are at least that count as two.
APART_SECONDS = 5.0


@dataclass(frozen=True)
class Settled:
    """
    Which workflows are built from the last good definitions, whatever their rows say.

    :param waiting: those that lose something, with what was read.
    :param kept: those of them whose loss does not count, or not yet.
    :param held: those of them that stay so until somebody decides.
    :param meant: what others lose on purpose.
    """

    waiting: dict[str, Waiting] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    meant: dict[str, Loss] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def settle(last_good: Snapshot, groups: Mapping[str, DefinitionRows], meant: Meant) -> Settled:
    """
    Compare what was read with the last good definitions.

    :param groups: workflow id → its rows.
    :param meant: what people did on purpose since the snapshot.
    """
    now: dict[str, Entry | None] = {}
    losses, on_purpose, waiting, problems = dict[str, Loss](), dict[str, Loss](), dict[str, Waiting](), list[Problem]()
    for workflow_id, entry in last_good.entries.items():
        try:
            after, loss = entry_of(groups.get(workflow_id)), _loss(entry, groups.get(workflow_id))
            if loss is not None and (meant.covers(workflow_id, after) or last_good.was_meant(workflow_id, loss)):
                on_purpose[workflow_id] = loss
            elif loss is not None:
                losses[workflow_id], waiting[workflow_id] = loss, _waiting(last_good.waiting.get(workflow_id), after)
            now[workflow_id] = after
        except Exception as error:  # noqa: BLE001 - rows that nobody has checked yet must not cost the other workflows
            problems.append(unchecked(workflow_id, error))
    held = last_good.held & losses.keys()
    others = now.keys() - held - on_purpose.keys()
    before = {name: last_good.entries[name] for name in others if name in losses or now[name] is not None}
    held |= _at_once(before, now) & losses.keys()
    latest = time.time() - APART_SECONDS
    unsettled = {
        workflow_id
        for workflow_id, waits in waiting.items()
        if workflow_id not in last_good.waiting or last_good.waiting[workflow_id] != waits or waits.since > latest
    }
    if held:
        problems.append(_problem(last_good, now, {name: losses[name] for name in held}))
    unchecked_ones = last_good.entries.keys() - now.keys()
    return Settled(waiting, frozenset(held | unsettled | unchecked_ones), frozenset(held), on_purpose, problems)


def losses_of(last_good: Mapping[str, Entry], groups: Mapping[str, DefinitionRows]) -> dict[str, Loss]:
    """
    Return workflow id → what its rows lack of its last good ones, where they lack anything.

    A workflow without any task, or tasks without the row of their workflow, are a mistake, which keeps the last good
    definition anyway.
    """
    return {
        workflow_id: loss
        for workflow_id, entry in last_good.items()
        if (loss := _loss(entry, groups.get(workflow_id))) is not None
    }


def _loss(entry: Entry, rows: DefinitionRows | None) -> Loss | None:
    if rows is None:
        return Loss.between(entry, None)
    if not rows.workflows or not rows.tasks:
        return None
    return Loss.between(entry, to_entry(rows)) or None


def _waiting(before: Waiting | None, now: Entry | None) -> Waiting:
    found = None if now is None else digest(now)
    return before if before is not None and before.digest == found else Waiting(found, time.time())


def _at_once(before: Mapping[str, Entry], now: Mapping[str, Entry | None]) -> set[str]:
    """
    Return the workflows that lost something, as far as it looks like an accident.

    That is when all workflows go at once, or at least three and more than half; and the same of the tasks, or of the edges, of
    those that are left. A lost setting makes an empty embedded database, a restored backup an old one, a forgotten WHERE an
    empty table, and all of it is read without any error.
    """
    gone = {workflow_id for workflow_id in before if now[workflow_id] is None}
    found = gone if gone and (len(gone) == len(before) or (len(gone) >= 3 and len(gone) * 2 > len(before))) else set()
    left = [(entry, after) for workflow_id, entry in before.items() if (after := now[workflow_id]) is not None]
    for kind in ("tasks", "dependencies"):
        had = sum(len(entry[kind]) for entry, _ in left)
        has = sum(len(after[kind]) for _, after in left)
        if had and (not has or (had - has >= 3 and has * 2 < had)):
            found = found | (before.keys() - gone)
    return found


def _problem(last_good: Snapshot, now: Mapping[str, Entry | None], held: Mapping[str, Loss]) -> Problem:
    gone = sorted(workflow_id for workflow_id in held if now[workflow_id] is None)
    smaller = sorted(held.keys() - set(gone))
    parts = []
    if gone:
        parts.append(f"{len(gone)} of {len(last_good.entries)} workflows are gone from the table at once ({_names(gone)})")
    if smaller:
        tasks = sum(len(held[name].tasks) for name in smaller)
        lost_edges = sum(len(held[name].edges) for name in smaller)
        parts.append(f"{len(smaller)} workflows lost {tasks} tasks and {lost_edges} dependencies at once ({_names(smaller)})")
    return Problem(
        "",
        "workflows",
        f"{', and '.join(parts)}, which looks like another or an emptied database, so their last good definitions are used on. "
        "If it was meant, run `accelerator confirm`; if not, check [accelerator] sql_alchemy_conn, or import the rows again",
    )


def _names(workflow_ids: list[str]) -> str:
    return ", ".join(workflow_ids[:10]) + (f" and {len(workflow_ids) - 10} more" if len(workflow_ids) > 10 else "")
