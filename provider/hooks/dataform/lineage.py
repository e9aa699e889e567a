"""Which tables the actions of an invocation have made and read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider.hooks.dataform.invocations import STORED_LENGTH, target_name
from provider.texts import storable

if TYPE_CHECKING:
    from google.cloud.dataform_v1 import CompilationResultAction

#: The kinds of actions that read what they depend on, as fields of ``CompilationResultAction``; a declaration reads nothing.
_READERS = ("relation", "operations", "assertion", "notebook", "data_preparation")


@dataclass(frozen=True, slots=True)
class MadeTable:
    """
    A table or view that an action has made.

    :param name: ``database.schema.name``.
    :param description: what the repository says of it, or empty.
    :param columns: name and description of the columns that the repository describes; a nested one's name has dots.
    """

    name: str
    description: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Lineage:
    """
    What an invocation has made, and what it has read that it has not made itself.

    :param read: ``database.schema.name`` of each.
    """

    made: tuple[MadeTable, ...]
    read: tuple[str, ...]


def lineage_of(compiled: Iterable[CompilationResultAction], succeeded: Collection[str]) -> Lineage:
    """
    Return the lineage of the actions that have succeeded.

    :param compiled: all actions of the repository.
    :param succeeded: targets of those that have succeeded.
    """
    made: list[MadeTable] = []
    read: dict[str, None] = {}
    for action in compiled:
        if (name := target_name(action.target)) not in succeeded:
            continue
        details = next((getattr(action, kind) for kind in _READERS if kind in action), None)
        if details is None:
            continue
        read.update(dict.fromkeys(map(target_name, details.dependency_targets)))
        if "relation" in action or ("operations" in action and details.has_output):
            made.append(_made(name, details.relation_descriptor))
    own = {table.name for table in made}
    return Lineage(tuple(made), tuple(name for name in read if name not in own))


def _made(name: str, descriptor: Any) -> MadeTable:
    columns = ((".".join(column.path), storable(column.description, STORED_LENGTH)) for column in descriptor.columns)
    return MadeTable(name, storable(descriptor.description, STORED_LENGTH), tuple(columns))
