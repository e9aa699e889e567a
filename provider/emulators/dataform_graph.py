"""Which actions an invocation runs, in which order, and how each ends: plain functions on the scenario's actions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from graphlib import TopologicalSorter

from provider.emulators.scenario import ActionSpec, RepositorySpec
from provider.emulators.timeline import Phase, Timeline


@dataclass(frozen=True)
class Target:
    """Identity of an action, as BigQuery names it."""

    database: str
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.database}.{self.schema}.{self.name}"


@dataclass(frozen=True)
class Overrides:
    """What a code compilation config changes in the targets."""

    default_database: str = ""
    default_schema: str = ""
    database_suffix: str = ""
    schema_suffix: str = ""
    table_prefix: str = ""


@dataclass(frozen=True)
class CompiledAction:
    """An action with its final and its canonical (without suffixes and prefix) target."""

    spec: ActionSpec
    target: Target
    canonical_target: Target


@dataclass(frozen=True)
class Selection:
    """What an invocation config includes; targets with empty parts match any value of that part."""

    targets: tuple[Target, ...] = ()
    tags: tuple[str, ...] = ()
    with_dependencies: bool = False
    with_dependents: bool = False


@dataclass(frozen=True)
class PlannedAction:
    """
    How an action will go if nobody cancels.

    :param starts: offset from the invocation's start.
    :param ends: offset from the invocation's start.
    :param state: the name of its final state.
    """

    action: CompiledAction
    starts: timedelta
    ends: timedelta
    state: str
    failure_reason: str = ""


def compile_actions(repository: RepositorySpec, overrides: Overrides) -> list[CompiledAction]:
    """Give every action its targets."""
    compiled = []
    for spec in repository.actions:
        canonical = Target(
            spec.target.database or overrides.default_database or repository.default_database,
            spec.target.schema_ or overrides.default_schema or repository.default_schema,
            spec.target.name,
        )
        final = Target(
            "_".join(filter(None, (canonical.database, overrides.database_suffix))),
            "_".join(filter(None, (canonical.schema, overrides.schema_suffix))),
            "_".join(filter(None, (overrides.table_prefix, canonical.name))),
        )
        compiled.append(CompiledAction(spec, final, canonical))
    return compiled


def matches(wanted: Target, action: CompiledAction) -> bool:
    """Return whether a requested target names an action."""
    return any(
        wanted.name == own.name and wanted.schema in ("", own.schema) and wanted.database in ("", own.database)
        for own in (action.target, action.canonical_target)
    )


def select(actions: Sequence[CompiledAction], selection: Selection) -> list[CompiledAction]:
    """Return the actions that a selection includes; without targets and tags, all."""
    if not selection.targets and not selection.tags:
        return list(actions)
    chosen = {
        action.spec.target.name
        for action in actions
        if set(action.spec.tags) & set(selection.tags) or any(matches(wanted, action) for wanted in selection.targets)
    }
    parents = {action.spec.target.name: set(action.spec.depends_on) for action in actions}
    children: dict[str, set[str]] = {name: set() for name in parents}
    for name, depends_on in parents.items():
        for parent in depends_on:
            children[parent].add(name)
    added: set[str] = set()
    if selection.with_dependencies:
        added |= _closure(chosen, parents)
    if selection.with_dependents:
        added |= _closure(chosen, children)
    return [action for action in actions if action.spec.target.name in chosen | added]


def plan(actions: Sequence[CompiledAction], failed_before: Counter[str]) -> list[PlannedAction]:
    """
    Lay out a run: each action starts when its parents among the selected ones have ended. What is only declared does not run.

    :param failed_before: how often each action has failed so far; counted up for those that will fail.
    """
    by_name = {action.spec.target.name: action for action in actions if action.spec.kind != "declaration"}
    order = TopologicalSorter({name: set(action.spec.depends_on) & set(by_name) for name, action in by_name.items()})
    planned: dict[str, PlannedAction] = {}
    for name in order.static_order():
        action = by_name[name]
        parents = [planned[parent] for parent in action.spec.depends_on if parent in planned]
        planned[name] = _plan_one(action, parents, failed_before)
    return [planned[name] for name in by_name]


def _plan_one(action: CompiledAction, parents: Collection[PlannedAction], failed_before: Counter[str]) -> PlannedAction:
    spec = action.spec
    starts = max((parent.ends for parent in parents), default=timedelta())
    if spec.disabled:
        return PlannedAction(action, starts, starts, "DISABLED")
    if any(parent.state in ("FAILED", "SKIPPED") for parent in parents):
        return PlannedAction(action, starts, starts, "SKIPPED")
    ends = starts + timedelta(seconds=spec.seconds)
    name = spec.target.name
    if spec.failure_reason is not None and (spec.failing_runs is None or failed_before[name] < spec.failing_runs):
        failed_before[name] += 1
        return PlannedAction(action, starts, ends, "FAILED", spec.failure_reason)
    return PlannedAction(action, starts, ends, "SUCCEEDED")


def state_at(planned: PlannedAction, timeline: Timeline, now: datetime) -> str:
    """Return the name of an action's state at a moment."""
    stop = min(now, timeline.cancelled_at) if timeline.cancelled_at else now
    elapsed = stop - timeline.started_at
    if elapsed >= planned.ends:
        return planned.state
    if timeline.phase(now) is Phase.CANCELLED:
        return "CANCELLED"
    return "RUNNING" if elapsed >= planned.starts else "PENDING"


def _closure(start: Collection[str], edges: Mapping[str, Collection[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        for following in edges[waiting.pop()]:
            if following not in found:
                found.add(following)
                waiting.append(following)
    return found
