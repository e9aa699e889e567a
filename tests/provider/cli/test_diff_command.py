"""What an import of a file would change is shown value by value, and nothing is stored."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from provider.metadata.engine import dispose_engines
from tests.provider.cli.workflow_files import REFRESH, stored_rows, task_of, workflow_of

pytestmark = pytest.mark.usefixtures("application_database")


@pytest.fixture
def changed(accelerator, write: Callable[..., Path]) -> Path:
    """A file in which much is otherwise than it is stored."""
    before = [
        workflow_of("shop", task_of("a"), task_of("b", "a"), schedule="0 5 * * *"),
        workflow_of("same", task_of("c")),
        workflow_of("gone", task_of("d")),
    ]
    assert accelerator("import", write(*before)).code == 0
    sold = {**REFRESH, "workspace": "Sold", "poll_interval": 2.5}
    return write(
        workflow_of("shop", task_of("b", retries=4, config=sold), task_of("e"), schedule="0 6 * * *"),
        workflow_of("same", task_of("c")),
        workflow_of("new", task_of("f")),
    )


def test_nothing_is_different(accelerator, workflows_file: Path) -> None:
    assert accelerator("import", workflows_file).code == 0
    result = accelerator("diff", workflows_file)
    assert (result.code, result.out, result.err) == (0, "", "")


def test_each_value_that_is_different(accelerator, changed: Path) -> None:
    stored = stored_rows()
    result = accelerator("diff", changed)
    assert (result.code, result.err) == (1, "")
    assert result.out == (
        "created    new (tasks: 1)\n"
        "changed    shop (tasks: 1 added, 1 changed, 1 removed)\n"
        "  ~ workflows row shop: schedule\n"
        '      schedule: "0 5 * * *" → "0 6 * * *"\n'
        "  + tasks row e\n"
        "  ~ tasks row b: config, retries\n"
        "      config.poll_interval: default → 2.5\n"
        '      config.workspace: "Sales" → "Sold"\n'
        "      retries: default → 4\n"
        "  - tasks row a\n"
        "  - task_dependencies row a → b\n"
    )
    assert stored_rows() == stored


def test_with_prune_also_what_the_file_does_not_have(accelerator, changed: Path) -> None:
    assert "removed    gone\n  - workflows row gone\n  - tasks row d\n" in accelerator("diff", changed, "--prune").out


def test_for_programs(accelerator, changed: Path) -> None:
    result = accelerator("diff", changed, "--output", "json")
    assert result.code == 1
    new, shop = json.loads(result.out)
    assert new == {"workflow_id": "new", "change": "created", "rows": []}
    assert shop["rows"][2] == {
        "change": "changed",
        "table": "tasks",
        "key": "b",
        "values": [
            {"name": "config.poll_interval", "after": 2.5},
            {"name": "config.workspace", "before": "Sales", "after": "Sold"},
            {"name": "retries", "after": 4},
        ],
    }


def test_for_a_spreadsheet_with_a_line_for_each_value(accelerator, changed: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(accelerator("diff", changed, "--output", "csv").out)))
    assert [(line["workflow_id"], line["row"], line["key"], line["name"]) for line in lines] == [
        ("new", "", "", ""),
        ("shop", "changed", "shop", "schedule"),
        ("shop", "added", "e", ""),
        *(("shop", "changed", "b", name) for name in ("config.poll_interval", "config.workspace", "retries")),
        ("shop", "removed", "a", ""),
        ("shop", "removed", "a → b", ""),
    ]
    assert [(line["before"], line["after"]) for line in lines[3:6]] == [("", "2.5"), ('"Sales"', '"Sold"'), ("", "4")]


def test_a_long_value_is_cut_for_people_alone(accelerator, write) -> None:
    assert accelerator("import", write(workflow_of("shop", task_of("a", doc="x" * 5000)))).code == 0
    other = write(workflow_of("shop", task_of("a", doc="y" * 5000)))
    assert max(len(line) for line in accelerator("diff", other).out.splitlines()) < 1000
    assert "y" * 5000 in accelerator("diff", other, "-o", "json").out


@pytest.mark.parametrize("column", ["doc", "params"])
def test_a_long_value_is_shown_where_it_is_different(accelerator, write, column: str) -> None:
    def file(number: int) -> Path:
        if column == "doc":
            path: Path = write(workflow_of("shop", task_of("a"), doc=f"{'x' * 3000} = {number} {'y' * 3000}"))
            return path
        params = [{"name": f"n{index}", "title": "x" * 40} for index in range(30)]
        if number == 2:  # which is the same, as the order of keys says nothing
            params = [dict(reversed(param.items())) for param in params]
        path = write(workflow_of("shop", task_of("a"), params=[*params, {"name": "last", "title": f"= {number} "}]))
        return path

    assert accelerator("import", file(1)).code == 0
    result = accelerator("diff", file(2))

    (line,) = [line for line in result.out.splitlines() if "→" in line]
    before, after = line.split(" → ")
    assert "= 1 " in before
    assert "= 2 " in after
    assert before.partition(": ")[2].startswith("…")
    assert len(line) < 900


def test_blanks_that_are_different_are_shown(accelerator, write) -> None:
    assert accelerator("import", write(workflow_of("shop", task_of("a", doc="one two")))).code == 0
    result = accelerator("diff", write(workflow_of("shop", task_of("a", doc="one  two"))))
    assert '      doc: "one two" → "one  two"\n' in result.out


@pytest.fixture
def nulls(accelerator, write: Callable[..., Path]) -> Path:
    """A file in which a key is null that is stored without a value, and one is left out that is stored as null."""

    def file(**params: Any) -> Path:
        call = task_of("a", task_type="run_workflow", config={"workflow": "other", "params": params})
        declared = [{"name": name, "required": False} for name in ("x", "y", "z")]
        return write(workflow_of("shop", call), workflow_of("other", task_of("b"), params=declared))

    assert accelerator("import", file(x=None, z="null")).code == 0
    return file(y=None, z=None)


def test_null_is_not_what_is_left_out(accelerator, nulls: Path) -> None:
    assert accelerator("diff", nulls).out == (
        "changed    shop (tasks: 1 changed)\n"
        "  ~ tasks row a: config\n"
        "      config.params.x: null → default\n"
        "      config.params.y: default → null\n"
        '      config.params.z: "null" → null\n'
    )


def test_null_is_not_what_is_left_out_for_programs(accelerator, nulls: Path) -> None:
    values = [
        {"name": "config.params.x", "before": None},
        {"name": "config.params.y", "after": None},
        {"name": "config.params.z", "before": "null", "after": None},
    ]
    for output, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        (shop,) = read(accelerator("diff", nulls, "-o", output).out)
        assert shop["rows"][0]["values"] == values
    lines = csv.DictReader(io.StringIO(accelerator("diff", nulls, "-o", "csv").out))
    assert [(line["name"], line["before"], line["after"]) for line in lines] == [
        ("config.params.x", "null", ""),
        ("config.params.y", "", "null"),
        ("config.params.z", '"null"', "null"),
    ]


@pytest.mark.parametrize(("before", "after"), [(1, True), (False, 0), (1, 1.0)])
def test_what_python_takes_for_equal_is_a_change(accelerator, write: Callable[..., Path], before: Any, after: Any) -> None:
    """It is another check: a number is compared as such, and ``true`` is none."""

    def checked(value: Any) -> Path:
        check = task_of("check", task_type="bigquery_check", config={"sql": "SELECT 1", "pass_value": value})
        return write(workflow_of("w", check, params=[{"name": "n", "type": ["number", "boolean"], "default": value}]))

    assert accelerator("import", checked(before)).code == 0
    result = accelerator("diff", checked(after))

    assert result.code == 1
    assert f"config.pass_value: {json.dumps(before)} → {json.dumps(after)}\n" in result.out
    assert "~ workflows row w: params\n" in result.out
    assert accelerator("import", checked(after)).out.startswith("changed    w (tasks: 1 changed)\n")
    assert repr(stored_rows().tasks[0]["config"]["pass_value"]) == repr(after)
    assert accelerator("diff", checked(after)).code == 0
    assert accelerator("rollback", "w").code == 0
    assert repr(stored_rows().tasks[0]["config"]["pass_value"]) == repr(before)


def test_a_whole_number_in_a_column_of_fractions_is_no_change(accelerator, write) -> None:
    path = write(workflow_of("w", task_of("a", retry_backoff=2)))
    assert accelerator("import", path).code == 0
    assert accelerator("diff", path).code == 0


def test_mistakes_and_failures_are_no_difference(accelerator, write, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = accelerator("diff", write(workflow_of("shop", task_of("a", "nobody"))))
    assert wrong.code == 2
    assert "nobody" in wrong.out
    assert accelerator("diff", "nowhere.yaml").code == 2
    dispose_engines()
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://nobody@127.0.0.1:1/nothing")
    away = accelerator("diff", write(workflow_of("shop", task_of("a"))))
    assert (away.code, away.out) == (2, "")
    assert away.err.startswith("error: ")
