"""The door as a whole: each module has its place in the table and its tests, each function says what it stands on."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from provider import airflow_internals
from provider.airflow_internals import audit_log, check

MODULES: dict[str, ModuleType] = {
    found.name: importlib.import_module(f"{airflow_internals.__name__}.{found.name}")
    for found in pkgutil.iter_modules(airflow_internals.__path__)
}
FUNCTIONS = [
    function
    for module in MODULES.values()
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_") and name != "problems"
]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_in_the_table_and_has_contract_tests(name: str) -> None:
    row = re.search(rf"^``{name}``.*``airflow_internals/(test_\w+\.py)``$", str(airflow_internals.__doc__), re.MULTILINE)
    assert row is not None
    assert (Path(__file__).parent / row[1]).exists()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_function_names_what_it_stands_on(function: Callable[..., Any]) -> None:
    names = re.findall(r"``((?:airflow|google)(?:\.\w+)+)``", str(function.__doc__))
    assert names
    assert re.search(r"\((3\.3|google-\S+ \d)", str(function.__doc__)), "of which version"
    for name in names:
        resolve(name)


def resolve(name: str) -> None:
    """Find a dotted name, or fail. A module's variable may only be declared."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if part in getattr(found, "__annotations__", {}) and not hasattr(found, part):
                return
            found = getattr(found, part)
        return
    raise AssertionError(name)


def test_this_airflow_is_as_the_product_takes_for_granted() -> None:
    assert check() == []


def test_a_problem_names_the_version_and_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> list[str]:
        raise ImportError("cannot import name 'Log'")

    monkeypatch.setattr(audit_log, "problems", away)
    (problem,) = check()
    assert re.fullmatch(r"Airflow 3\.\d+\.\d+\S* is not as .*: cannot import name 'Log'; no task logs are reconciled\.", problem)


def test_the_door_itself_imports_nothing_of_airflow() -> None:
    """Settings are read without Airflow, and hooks run in every task process."""
    light = "processes, secrets, xcom"
    loaded = "[name for name in sys.modules if name.startswith('airflow')]"
    code = f"import sys; from provider.airflow_internals import {light}; print({loaded})"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
