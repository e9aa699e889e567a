"""Order of tasks, and cycles, which are found before Airflow would refuse a whole file for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter


def find_cycle(children: Mapping[str, Iterable[str]]) -> list[str] | None:
    """
    Return one cycle as the ids on it, the first one again at the end; None where there is none.

    The same graph gives the same cycle, in whichever order its edges come.

    :param children: node → its children, with a key for every node.
    """
    sorter = _sorter(children)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return None


def disjoint_cycles(children: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """
    Return cycles that have no node in common, until none is left without one of their nodes; the same for the same graph.

    :param children: as in :func:`find_cycle`.
    """
    left, found = {node: set(behind) for node, behind in children.items()}, []
    while (cycle := find_cycle(left)) is not None:
        found.append(cycle)
        left = {node: behind - set(cycle) for node, behind in left.items() if node not in cycle}
    return found


def flow_order(children: Mapping[str, Iterable[str]]) -> list[str]:
    """
    Return the nodes so that each comes after its parents, and otherwise by name; the same for the same graph.

    :param children: as in :func:`find_cycle`, without a cycle.
    """
    return list(_sorter(children).static_order())


def _sorter(children: Mapping[str, Iterable[str]]) -> TopologicalSorter[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sorted(children), ()))
    for parent in sorted(children):
        for child in sorted(children[parent]):
            sorter.add(child, parent)
    return sorter
