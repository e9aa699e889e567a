"""What is mutated, what must notice, and which mutants change nothing: the two lists beside this file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
MODULES = Path(__file__).with_name("modules.toml")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True)
class Module:
    """
    One part of the core.

    :param name: as in ``make mutate ONLY=name``.
    :param files: what is changed, below the root.
    :param tests: the files of tests that must notice.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """
    The list of modules.

    :param modules: by name.
    :param sample: how many mutants of a module are tried.
    :param seed: draws them.
    :param settings: of mutmut.
    """

    modules: dict[str, Module]
    sample: int
    seed: int
    settings: dict[str, Any]


class Change(NamedTuple):
    """
    A mutant, by what it changes: this outlives a new line elsewhere in the file.

    :param file: below the root.
    :param function: ``name`` or ``Class.name``.
    :param line: the text of the lines that it changes, without indentation.
    :param becomes: the text that they get.
    """

    file: str
    function: str
    line: str
    becomes: str


def read_plan(path: Path = MODULES) -> Plan:
    """Read the list of modules."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    modules = {name: Module(name, tuple(row["files"]), tuple(row["tests"])) for name, row in data["modules"].items()}
    return Plan(modules, data["sample"], data["seed"], data["mutmut"])


def read_equivalent(path: Path = EQUIVALENT) -> dict[Change, str]:
    """Read the list of equivalent mutants, each with its reason."""
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("mutants", [])
    return {Change(row["file"], row["function"], row["line"].strip(), row["becomes"].strip()): row["reason"] for row in rows}
