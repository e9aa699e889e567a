"""
Operators that are copies of one another.

Most of a parse is spent in their constructors: Airflow sets each of ninety attributes by a method, and asks for a converter
before. The tasks of a type differ in little more than what is rendered, which an operator has as it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperator

from provider.airflow_internals.operators import like


class Prototypes:
    """What was made in a parse, by its class and by what all that is copied from it has in common."""

    def __init__(self) -> None:
        self._made: dict[tuple[type[BaseOperator], str], BaseOperator] = {}

    def make(self, operator: type[BaseOperator], shared: Mapping[str, Any], own: Mapping[str, Any]) -> BaseOperator:
        """
        Return an operator as ``operator(**shared, **own)`` makes it.

        :param shared: arguments that others may have alike.
        :param own: those that it keeps as they are; from them its constructor concludes no more than which are given.
        """
        # Not by their equality: True is 1.
        key = operator, f"{shared} {list(own)}"
        if key not in self._made:
            made = operator(**shared, **own)
            if made.outlets:  # an alias of assets has the name of its task
                return made
            self._made[key] = made
        return like(self._made[key], own)
