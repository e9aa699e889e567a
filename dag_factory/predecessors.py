"""Workflows that come after others (column ``after``): who is followed, and who would start whom for ever."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from dag_factory.graph import find_cycle, tangles
from dag_factory.problems import Problem, row_name, suggestion, way_around
from dag_factory.specs import WorkflowSpec
from provider.metadata.rows import is_asset, workflows_among
from provider.metadata.workflow_rows import Entry, Shard
from provider.plain_data import texts_among
from provider.texts import quoted


def followed(predecessors: Mapping[str, Collection[str]]) -> frozenset[str]:
    """
    Return the workflows that others come after.

    :param predecessors: workflow id → what it comes after: workflows, and URIs of assets.
    """
    return frozenset(one for said in predecessors.values() for one in workflows_among(said))


#: No asset is made by a workflow.
_NO_MAKERS: Mapping[str, Collection[str]] = {}


def circular(predecessors: Mapping[str, Collection[str]], makers: Mapping[str, Collection[str]] = _NO_MAKERS) -> list[Problem]:
    """
    Return a problem for each workflow that comes after itself by way of others: a batch of it would never be the last.

    :param makers: URI of an asset → the workflows whose tasks make it.
    """
    found, among = [], {}
    for name, said in predecessors.items():
        before = {other for one in said for other in (makers.get(one, ()) if is_asset(one) else (one,))}
        if any(name in makers.get(one, ()) for one in said):
            found.append(_endless(name, [name, name]))
            before.clear()
        # A row that names itself is refused where rows are checked.
        among[name] = sorted(one for one in before if one in predecessors and one != name)
    for group in tangles(among):
        members = frozenset(group)
        cycle = find_cycle({name: members.intersection(among[name]) for name in group})
        found += [_endless(name, cycle or group) for name in group]
    return found


def _endless(workflow_id: str, cycle: list[str]) -> Problem:
    text = f"after: workflows would start one another for ever: {way_around(cycle)}; take one out"
    return Problem(workflow_id, row_name("workflows", "workflow_id", workflow_id), text)


def in_effect(
    read: Mapping[str, list[str]], good: Mapping[str, Entry], shard: Shard, elsewhere: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """
    Return what comes after what in the DAGs that there are, where a workflow may be built from its last good definitions.

    :param read: what all rows say.
    :param good: the definitions in use of the shard.
    :param elsewhere: the same of the other shards, at their last parse.
    """
    others = {name: elsewhere.get(name, said) for name, said in read.items() if name not in shard}
    return {**elsewhere, **others, **after_of(good)}


def after_of(entries: Mapping[str, Entry]) -> dict[str, list[str]]:
    """Return what comes after what, of entries of a snapshot."""
    found = {name: texts_among(entry["workflow"].get("after")) for name, entry in entries.items()}
    return {name: said for name, said in found.items() if said}


def acyclic(predecessors: Mapping[str, Collection[str]], makers: Mapping[str, Collection[str]]) -> dict[str, Collection[str]]:
    """Return what comes after what, without those that :func:`circular` names."""
    named = {problem.workflow_id for problem in circular(predecessors, makers)}
    return {name: said for name, said in predecessors.items() if name not in named}


def predecessors_of(workflows: Iterable[WorkflowSpec]) -> dict[str, list[str]]:
    """Return what :func:`followed` and :func:`circular` take, of specs."""
    return {spec.workflow_id: list(spec.options.after) for spec in workflows if spec.options.after}


def makers_of(workflows: Iterable[WorkflowSpec]) -> dict[str, list[str]]:
    """Return the workflows that make an asset, of specs."""
    found: dict[str, list[str]] = {}
    for spec in workflows:
        for uri in dict.fromkeys(uri for task in spec.tasks for uri in task.outlets):
            found.setdefault(uri, []).append(spec.workflow_id)
    return found


def missing(workflows: Sequence[WorkflowSpec], known: Collection[str]) -> Iterator[Problem]:
    """
    Yield a warning for each workflow that comes after one that is not there; it may come with the next file.

    :param known: ids of all workflows, valid or not.
    """
    for spec in workflows:
        for other in workflows_among(spec.options.after):
            if other not in known:
                hint = suggestion(other, known, "workflows are")
                text = f"after: there is no workflow {quoted(other)}; {hint}; {spec.workflow_id} waits until there is one"
                yield Problem(spec.workflow_id, f"workflows row {spec.workflow_id}", text)
