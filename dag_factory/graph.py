"""Order of tasks, and cycles, which are found before Airflow would refuse a whole file for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


def tangles(children: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """
    Return the groups of nodes that are all behind one another (the strongly connected ones, of two nodes or more).

    By Tarjan's algorithm, without recursion: its time grows with nodes and edges, however many of the groups there are.

    :param children: as in :func:`find_cycle`.
    """
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    found: list[list[str]] = []

    def enter(node: str) -> tuple[str, Iterator[str]]:
        number[node] = lowest[node] = len(number)
        path.append(node)
        on_path.add(node)
        return node, iter(children[node])

    for root in children:
        open_ = [] if root in number else [enter(root)]
        while open_:
            node, left = open_[-1]
            child = next(left, None)
            if child is None:
                open_.pop()
                if open_:
                    lowest[open_[-1][0]] = min(lowest[open_[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    group = [path.pop()]
                    while group[-1] != node:
                        group.append(path.pop())
                    on_path.difference_update(group)
                    if len(group) > 1:
                        found.append(sorted(group))
            elif child not in number:
                open_.append(enter(child))
            elif child in on_path:
                lowest[node] = min(lowest[node], number[child])
    return sorted(found)


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
