"""Task types that other packages bring, and what a broken one costs."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from dag_factory import factory
from dag_factory.rehearsal import rehearse_foreign
from dag_factory.task_types import OperatorCall, TaskConfig, TaskType
from dag_factory.task_types.registry import TaskTypes, task_types
from dag_factory.validation import validate
from tests.dag_factory.definitions import Rows, store


class _Entry:
    """An entry point of another package."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value = name, str(value)
        self._value = value

    def load(self) -> object:
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


def _types_with(monkeypatch: pytest.MonkeyPatch, *entries: _Entry) -> TaskTypes:
    monkeypatch.setattr("dag_factory.task_types.registry.importlib.metadata.entry_points", lambda group: list(entries))
    return task_types()


class ShellConfig(TaskConfig):
    command: str


def no_operator(config: ShellConfig) -> NoReturn:
    raise AssertionError("rows are checked without their operators")


def test_other_packages_add_task_types(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = TaskType("shell", ShellConfig, no_operator)
    types = _types_with(monkeypatch, _Entry("shell", shell), _Entry("dataform", RuntimeError("ours wins")))
    rows.task("dim_date").update(task_type="shell", config={"command": "ls"})

    validated = validate(rows.definitions(), types)

    assert validated.problems == []
    assert validated.workflows["calendar"].tasks[0].config == ShellConfig(command="ls")


@pytest.mark.parametrize(
    ("loaded", "reason"),
    [
        (ModuleNotFoundError("No module named 'shell'"), "ModuleNotFoundError: No module named 'shell'"),
        (ModuleNotFoundError("x" * 400), f"ModuleNotFoundError: {'x' * 279}…"),
        ("nonsense", "the entry point nonsense does not name a TaskType called shell"),
    ],
)
def test_a_broken_package_costs_only_the_rows_that_use_it(
    loaded: object, reason: str, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = _types_with(monkeypatch, _Entry("shell", loaded))
    rows.task("dim_date").update(task_type="shell", config={"command": "ls"})

    validated = validate(rows.definitions(), types)

    text = f"tasks row dim_date: task_type: shell cannot be loaded ({reason}); repair its package"
    assert [str(problem) for problem in validated.problems] == [text]
    assert list(validated.workflows) == ["daily_sales"]


def test_commands_say_what_the_parse_says_of_an_operator_that_airflow_cannot_send(
    rows: Rows, embedded_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(config: ShellConfig) -> OperatorCall:
        from airflow.sdk import BaseOperator

        class ShellOperator(BaseOperator):
            template_fields = ("command",)

            def __init__(self, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.command = len(config.command) * 2**64

        return ShellOperator, {}

    class Types(TaskTypes):
        def is_built_in(self, name: str) -> bool:
            return name != "shell"

    types = Types(TaskType("shell", ShellConfig, too_large))
    monkeypatch.setattr(factory, "task_types", lambda: types)
    rows = rows.only("calendar")
    rows.task("dim_date").update(task_type="shell", config={"command": "ls"})
    store(rows)
    validated = validate(rows.definitions(), types)
    told = rehearse_foreign(validated.workflows.values(), types)

    assert validated.problems == []
    assert [problem.row for problem in told] == ["tasks row dim_date: config"]
    assert told[0].message.startswith("cannot be built: OverflowError: can't serialize ints < -2**63 or > 2**64 - 1")
    assert factory.build_all().problems == told
