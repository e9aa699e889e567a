"""
The product reaches Airflow's private names through ``provider.airflow_internals`` alone.

``import-linter`` sees packages of others as one name each, so this reads the syntax tree: imports anywhere in a module, module
names in strings that are imported later, and private attributes that no code of ours defines.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import airflow.sdk
import pytest

ROOT = Path(__file__).parents[1]
DOOR = "provider/airflow_internals/"

#: What Airflow documents for users and providers. A package stands for everything in it.
PUBLIC = (
    "airflow.cli.cli_config",  # commands of providers
    "airflow.listeners.hookimpl",
    "airflow.observability.stats",  # the same as the task SDK's, for the triggerer
    "airflow.plugins_manager.AirflowPlugin",
    "airflow.providers",
    "airflow.sdk.exceptions",
    "airflow.sdk.observability.stats",  # the way to metrics of one's own, by Airflow's maintainers (discussion 69096)
    "airflow.sdk.types",
    "airflow.triggers.base",
)


#: Names with an underscore that their library documents for everybody: SQLAlchemy's rows.
DOCUMENTED = {"_mapping"}


def is_public(name: str) -> bool:
    if any(re.match(r"_[a-z]", part) for part in name.split(".")):
        return False
    if name == "airflow" or any(f"{name}.".startswith(f"{public}.") for public in PUBLIC):
        return True
    package, _, member = name.rpartition(".")
    return name == "airflow.sdk" or (package == "airflow.sdk" and member in airflow.sdk.__all__)


def is_airflow(name: str) -> bool:
    """Tell whether a text names something of Airflow; ``airflow.cfg`` does not."""
    if not re.fullmatch(r"airflow(\.\w+)*", name):
        return False
    return "." not in name or hasattr(airflow, name.split(".")[1]) or find_spec(".".join(name.split(".")[:2])) is not None


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the full names that a node imports, or that it has as a string."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
        yield node.value
    elif isinstance(node, ast.Attribute) and (name := ast.unparse(node)).startswith("airflow."):
        yield name


def private_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of what a module imports of Airflow that is not public."""
    for node in ast.walk(tree):
        yield from ((getattr(node, "lineno", 0), name) for name in imported(node) if is_airflow(name) and not is_public(name))


def private_members(tree: ast.AST, ours: set[str]) -> Iterator[tuple[int, str]]:
    """Yield line and name of private attributes that are used, by ``getattr`` too, and are none of ours."""
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Call) and re.search(r"(get|set|has|del)attr|attrgetter", ast.unparse(node.func)):
            texts = (one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str))
            name = next((text for text in texts if re.match(r"_[a-z]", text)), "")
        if re.match(r"_[a-z]", name) and name not in ours:
            yield getattr(node, "lineno", 0), name


def defined(trees: Iterable[ast.AST]) -> set[str]:
    """Return the names of functions, classes and attributes that code defines."""
    names: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for folder in ("provider", "dag_factory", "demo", "dags", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
OUTSIDE = {file: tree for file, tree in TREES.items() if not file.startswith(DOOR)}


def test_private_names_of_airflow_are_behind_the_door() -> None:
    found = [f"{file}:{line}: {name}" for file, tree in OUTSIDE.items() for line, name in private_imports(tree)]
    assert found == [], "ask provider.airflow_internals instead"


def test_private_attributes_of_others_are_not_used() -> None:
    known = {file: defined([tree]) | DOCUMENTED for file, tree in OUTSIDE.items()}
    found = {(file, name) for file, tree in OUTSIDE.items() for _, name in private_members(tree, known[file])}
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "import airflow.settings",
        "def f():\n    from airflow.models.dagrun import DagRun",
        "from airflow import settings",
        "if TYPE_CHECKING:\n    from airflow.utils.session import create_session",
        "from airflow.sdk import timezone",
        "importlib.import_module('airflow.jobs.job')",
        "import airflow\nairflow.settings.Session()",
        "from airflow.providers.google.cloud.hooks.bigquery import _helper",
        "from airflow.sdk.definitions._internal import types",
    ],
)
def test_every_way_to_a_private_name_is_seen(code: str) -> None:
    assert list(private_imports(ast.parse(code)))


@pytest.mark.parametrize("code", ["from airflow.sdk import conf", "import airflow", "x = 'airflow worker -- 1'"])
def test_what_is_public_or_no_name_is_not(code: str) -> None:
    assert not list(private_imports(ast.parse(code)))


def test_a_private_attribute_is_seen() -> None:
    assert list(private_members(ast.parse("conf._get_custom_secret_backend()"), {"_ours"})) == [(1, "_get_custom_secret_backend")]


@pytest.mark.parametrize("code", ["getattr(ti, '_cached', None)", "setattr(ti, '_cached', 1)", "attrgetter('_cached')(ti)"])
def test_a_private_attribute_by_its_name_is_seen(code: str) -> None:
    assert list(private_members(ast.parse(code), {"_ours"})) == [(1, "_cached")]
    assert list(private_members(ast.parse(code), {"_cached"})) == []
