"""Order of tasks: cycles are found before Airflow would refuse a whole file for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def find_cycle(children: Mapping[str, Iterable[str]]) -> list[str] | None:
    """
    Return one cycle as the ids on it, the first one again at the end; None where there is none.

    The same graph gives the same cycle. Depth-first with a stack of its own: chains of any length are fine.

    :param children: node → its children, with a key for every node.
    """
    done: set[str] = set()
    for start in sorted(children):
        if start in done:
            continue
        path: list[str] = [start]
        on_path = {start}
        stack = [iter(sorted(children[start]))]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                left = path.pop()
                on_path.discard(left)
                done.add(left)
            elif node in on_path:
                return [*path[path.index(node) :], node]
            elif node not in done:
                path.append(node)
                on_path.add(node)
                stack.append(iter(sorted(children[node])))
    return None
