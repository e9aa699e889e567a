"""What a DAG says of itself."""

from __future__ import annotations

from typing import Any

from dag_factory.dag_docs import doc_md
from dag_factory.graph import flow_order
from dag_factory.task_types.registry import task_types
from dag_factory.validation import validate
from provider.metadata.rows import DefinitionRows


def described(tasks: list[dict[str, Any]], edges: list[tuple[str, str]] = [], **workflow: Any) -> str:  # noqa: B006 - not changed
    rows = DefinitionRows(
        [{"workflow_id": "sales", **workflow}],
        [{"workflow_id": "sales", "task_type": "external", "config": {}, **task} for task in tasks],
        [{"parent_id": parent, "child_id": child} for parent, child in edges],
    )
    validated = validate(rows, task_types())
    assert validated.problems == []
    spec = validated.workflows["sales"]
    return doc_md(spec, flow_order(spec.children()))


def test_it_tells_how_it_starts_its_tasks_in_the_order_of_the_flow_and_who_owns_it() -> None:
    told = described(
        [{"task_id": "a_last", "doc": "Waits for the *bank* | and more\nsecond line"}, {"task_id": "z_first"}],
        [("z_first", "a_last")],
        **{"description": "Figures of the day.", "schedule": "0 5 * * *", "timezone": "Europe/Berlin", "owner": "team_sales"},
        **{"file_pattern": "gs://landing/*.csv", "params": [{"name": "country", "default": "de", "description": "or `all`"}]},
    )

    assert told == (
        "Figures of the day.\n\n"
        "**Starts** at `0 5 * * *` in Europe/Berlin; when a file `gs://landing/*.csv` arrives; with a message that names one of "
        "its tasks; or by hand.\n\n"
        "**Owner** team\\_sales\n\n"
        "| task | type | after | what |\n"
        "|---|---|---|---|\n"
        "| `z_first` | `external` |  |  |\n"
        "| `a_last` | `external` | `z_first` | Waits for the \\*bank\\* \\| and more |\n\n"
        "**Params**\n\n"
        "- `country` or \\`all\\`\n\n"
        "`start_batch` opens the batch and skips what is not to run in it; `batch_watcher` lets the run fail if a task with "
        "others behind it has failed. Both are added to the tasks above, which are rows of the table `tasks`: "
        "`accelerator export sales` prints them. What ran, and why not, is on *Task batches*.\n"
    )


def test_of_many_tasks_and_parents_some_are_told() -> None:
    tasks = [{"task_id": f"t{number:04}"} for number in range(300)]
    told = described(tasks, [(f"t{number:04}", "t0299") for number in range(50)])

    assert "| … | | | and 200 more |" in told
    assert len(told) < 15_000
    with_parents = described(tasks[:9] + tasks[-1:], [(f"t{number:04}", "t0299") for number in range(9)])
    assert "| `t0299` | `external` | `t0000`, `t0001`, `t0002`, `t0003`, `t0004` and 4 more |" in with_parents


def test_what_is_switched_off_makes_no_other_version() -> None:
    on, off = (described([{"task_id": "a", "enabled": enabled}], enabled=enabled) for enabled in (True, False))
    assert on == off


def test_the_order_is_the_same_for_the_same_graph() -> None:
    assert flow_order({"c": ["b"], "b": [], "a": ["b"]}) == ["a", "c", "b"]
    assert flow_order({"b": [], "a": ["b"], "c": ["b"]}) == ["a", "c", "b"]
