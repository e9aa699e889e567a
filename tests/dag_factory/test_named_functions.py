"""Rows that name a function of another package: what is allowed, what of its arguments is refused, and what it is called with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Context

from dag_factory.templates import DATES
from tests.dag_factory.definitions import Rows, template_context
from tests.dag_factory.named import TASK, made, told

MODULE = """
from __future__ import annotations
from datetime import date, timedelta
from os import system
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nowhere import Nothing

CALLS = []

def fetch(market: str, day: date, *, pause: timedelta = timedelta(0), limit: int = 10, extra: Nothing = None, untyped=None):
    CALLS.append((market, day, pause, limit, extra, untyped))
    return limit

def context_too(run_id, params, ds="none", **others):
    CALLS.append((run_id, params, ds, sorted(others)))

def of_a_date(ds):
    CALLS.append(ds)

def refund(reason, exception, try_number, test_mode, expanded_ti_count):
    CALLS.append((reason, exception, try_number, test_mode, expanded_ti_count))

def by_place(first, /):
    pass

def imported_elsewhere():
    pass

imported_elsewhere.__module__ = "own_private"

async def later(text: str):
    CALLS.append(text)

class Thing:
    def __call__(self):
        pass

thing = Thing()
"""


@pytest.fixture
def own(rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rows]:
    """Rows, and a module ``own_functions`` that they may name."""
    (tmp_path / "own_functions.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_CALLABLES", "own_functions.*, builtins.max")
    yield rows.only("calendar")
    sys.modules.pop("own_functions", None)


def named(rows: Rows, function: str, /, **arguments: Any) -> Rows:
    rows.task(TASK).update(task_type="python", config={"callable": function, "op_kwargs": arguments})
    return rows


def calls(rows: Rows, **context: Any) -> list[Any]:
    """Run the task, and return what its function was called with."""
    made(rows).execute({"run_id": "Batch_1", **context})
    return list(sys.modules["own_functions"].CALLS)


def calls_in_a_run(rows: Rows) -> list[Any]:
    """Run the task with all that Airflow's task runner hands over, and return what its function was called with."""
    task = made(rows)
    context = template_context(task.dag, TASK, run_id="Batch_1", run_after=datetime(2026, 3, 16, tzinfo=UTC))
    task.prepare_for_execution().execute(context)
    return list(sys.modules["own_functions"].CALLS)


def test_it_is_called_with_what_the_row_says(own: Rows) -> None:
    named(own, "own_functions.fetch", market="xetra", day="2026-03-16", pause=90, limit=5, extra={"a": [1]}, untyped="PT1M")
    assert told(own) == []

    assert calls(own) == [("xetra", date(2026, 3, 16), timedelta(seconds=90), 5, {"a": [1]}, "PT1M")]


def test_what_it_returns_is_kept_and_not_logged(own: Rows) -> None:
    task = made(named(own, "own_functions.fetch", market="x", day="2026-03-16"))
    assert (task.do_xcom_push, task.show_return_value_in_logs, task.execute({"run_id": "Batch_1"})) == (True, False, 10)


def test_what_airflow_gives_comes_by_name(own: Rows) -> None:
    named(own, "own_functions.context_too", given=1)
    assert told(own) == []
    ((run_id, params, day, others),) = calls(own, params={"a": 1}, ti=None)
    assert (run_id, params, day) == ("Batch_1", {"a": 1}, "none")
    assert {"given", "ti"} <= set(others)


def test_what_only_some_runs_have_can_be_given(own: Rows) -> None:
    assert "op_kwargs.ds: missing; add it" in told(named(own, "own_functions.of_a_date"))[0]
    assert told(named(own, "own_functions.of_a_date", ds="{{ batch_date }}")) == []
    assert calls(named(own, "own_functions.of_a_date", ds="today")) == ["today"]


def test_what_airflow_gives_is_what_a_task_that_runs_has(own: Rows) -> None:
    own.task(TASK)["outlets"] = ["s3://bucket/calendar"]  # only a task with assets has a store for them
    ((_, _, _, others),) = calls_in_a_run(named(own, "own_functions.context_too"))
    given = {name for name in {"run_id", "params", *others} if not name.startswith(DATES)}

    names = {name for name in Context.__annotations__ if not name.startswith(DATES)}
    refused = {
        name for name in names if "Airflow gives it" in "".join(told(named(own, "own_functions.context_too", **{name: 1})))
    }
    assert refused == given


def test_what_no_task_that_runs_has_comes_from_the_row(own: Rows) -> None:
    values = {"reason": "broken", "exception": "none", "try_number": 7, "test_mode": True, "expanded_ti_count": 0}
    assert told(named(own, "own_functions.refund", **values)) == []
    assert calls_in_a_run(own) == [tuple(values.values())]

    del values["reason"]
    assert "op_kwargs.reason: missing; add it" in told(named(own, "own_functions.refund", **values))[0]


def test_a_coroutine_is_run_to_its_end(own: Rows) -> None:
    assert told(named(own, "own_functions.later", text="x")) == []
    assert calls(own) == ["x"]


def test_templates_have_our_names_and_are_not_checked(own: Rows) -> None:
    task = made(named(own, "own_functions.fetch", market="{{ batch_id }}", day="{{ batch_date }}"))
    assert task.op_kwargs == {"market": "{{ run_id }}", "day": "{{ (dag_run.run_after | batch_date) }}"}


FETCH = {"market": "xetra", "day": "2026-03-16"}


@pytest.mark.parametrize(
    ("function", "arguments", "problem"),
    [
        (
            "os.system",
            {"command": "ls"},
            "callable: rows may not use os.system; who looks after Airflow allows it in [accelerator] a",
        ),
        ("builtins.eval", {"source": "1"}, "callable: rows may not use builtins.eval; who looks after Airflow allows it"),
        # A module has what it imports: the place where a function is defined must be allowed too.
        ("own_functions.system", {"command": "ls"}, "callable: rows may not use posix.system; who looks after Airflow allows"),
        ("own_functions.imported_elsewhere", {}, "callable: rows may not use own_private.imported_elsewhere; who looks"),
        ("own_functions.nothing", {}, "callable: own_functions.nothing is not a function; write the path of one"),
        ("own_functions.CALLS", {}, "callable: own_functions.CALLS is not a function"),
        ("own_functions.thing", {}, "callable: own_functions.thing is not a function"),
        ("own_functions.Thing.__call__", {}, "callable: own_functions.Thing cannot be imported here ("),
        ("builtins.max", {}, "callable: builtins.max does not tell its parameters; name a function of Python"),
        ("own_functions.by_place", {}, "callable: by_place takes first by its place alone; name a function without that"),
        ("fetch", {}, "config.callable: must be the path of a function, such as package.module.function, not 'fetch'"),
        ("os.system('ls')", {}, "config.callable: must be the path of a function"),
        ("own_functions.fetch", {"market": "xetra"}, "op_kwargs.day: missing; add it"),
        ("own_functions.fetch", {**FETCH, "markt": "x"}, "op_kwargs.markt: unknown key; did you mean market? fetch takes: "),
        ("own_functions.fetch", {**FETCH, "limit": "5"}, "op_kwargs.limit: must be a valid integer, as fetch has it"),
        ("own_functions.fetch", {**FETCH, "market": 5}, "op_kwargs.market: must be a valid string, as fetch has it"),
        ("own_functions.fetch", {**FETCH, "day": "soon"}, "op_kwargs.day: must be a valid date"),
        ("own_functions.context_too", {"ti": 1}, "op_kwargs.ti: Airflow gives it, and a function that has a parameter of this"),
        ("own_functions.context_too", {"params": {}}, "op_kwargs.params: Airflow gives it"),
        ("own_functions.fetch", {**FETCH, "market": "{{ ti.xcom_pull() }}"}, "config.op_kwargs.market: call is not allowed in"),
    ],
)
def test_what_is_refused_names_the_row(own: Rows, function: str, arguments: dict[str, Any], problem: str) -> None:
    (text,) = told(named(own, function, **arguments))[:1]

    assert text.startswith(f"tasks row {TASK}: config")
    assert problem in text


def test_nothing_is_imported_that_is_not_allowed(own: Rows, tmp_path: Path) -> None:
    (tmp_path / "unwanted.py").write_text("raise SystemExit('imported')")
    assert "rows may not use unwanted.function" in told(named(own, "unwanted.function"))[0]


def test_code_of_others_costs_its_workflow_alone(own: Rows, tmp_path: Path) -> None:
    (tmp_path / "own_functions.py").write_text("raise SystemExit('no')")
    assert "cannot be built: SystemExit: no; correct its rows" in told(named(own, "own_functions.fetch"))[0]


def test_without_a_setting_nothing_is_allowed(own: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__ACCELERATOR__ALLOWED_CALLABLES")
    assert "rows may not use own_functions.fetch" in told(named(own, "own_functions.fetch", **FETCH))[0]
