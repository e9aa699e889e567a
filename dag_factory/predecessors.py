"""Workflows that come after others (column ``after``): who is followed, and who would start whom for ever."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from dag_factory.graph import find_cycle, tangles
from dag_factory.problems import Problem, suggestion, way_around
from dag_factory.specs import WorkflowSpec
from provider.metadata.rows import workflows_among
from provider.texts import quoted


def followed(predecessors: Mapping[str, Collection[str]]) -> frozenset[str]:
    """
    Return the workflows that others come after.

    :param predecessors: workflow id → what it comes after: workflows, and URIs of assets.
    """
    return frozenset(one for said in predecessors.values() for one in workflows_among(said))


def circular(predecessors: Mapping[str, Collection[str]]) -> list[Problem]:
    """Return a problem for each workflow that comes after itself by way of others: a batch of it would never be the last."""
    among = {name: [one for one in said if one in predecessors and one != name] for name, said in predecessors.items()}
    found = []
    for group in tangles(among):
        members = frozenset(group)
        cycle = find_cycle({name: members.intersection(among[name]) for name in group})
        text = f"after: workflows would start one another for ever: {way_around(cycle or group)}; take one out"
        found += [Problem(name, f"workflows row {name}", text) for name in group]
    return found


def acyclic(predecessors: Mapping[str, Collection[str]]) -> dict[str, Collection[str]]:
    """Return what comes after what, without those that :func:`circular` names."""
    named = {problem.workflow_id for problem in circular(predecessors)}
    return {name: said for name, said in predecessors.items() if name not in named}


def predecessors_of(workflows: Iterable[WorkflowSpec]) -> dict[str, list[str]]:
    """Return what :func:`followed` and :func:`circular` take, of specs."""
    return {spec.workflow_id: list(spec.options.after) for spec in workflows if spec.options.after}


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
