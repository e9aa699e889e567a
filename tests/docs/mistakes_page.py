"""Writes docs/mistakes.md: what people get wrong, and what they are told: ``python -m tests.docs.mistakes_page``."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from provider.cli.main import console
from provider.metadata.engine import dispose_engines

PAGE = Path(__file__).parents[2] / "docs" / "mistakes.md"
HEAD = """\
# Typical mistakes, and what you are told

Each line here was tried: a good file with one mistake in it, and the first line that `accelerator validate FILE` prints; or good
tables with one mistake in them, written by SQL, and the first line of `accelerator validate`. The dag-processor says the same of
tables, on Airflow's list of import errors, and keeps the last good definition of the workflow. Lists of names are cut here.
"""
FILE = """\
workflows:
  - workflow_id: daily_sales
    schedule: "0 5 * * *"
    start_date: "2026-01-01"
    timezone: Europe/Berlin
    tags: [sales]
    params:
      - name: country
        default: DE
        enum: [DE, AT]
    tasks:
      - task_id: stg_orders
        task_type: dataform
        config:
          project_id: demo-project
          region: europe-west3
          repository_id: sales
          git_commitish: main
      - task_id: refresh_sales
        task_type: power_bi_refresh
        depends_on: [stg_orders]
        retries: 2
        config:
          workspace: Sales
          semantic_model: Daily Sales
"""
LONGEST = 210


@dataclass(frozen=True)
class Mistake:
    """
    :param what: the mistake, in words.
    :param good: what of the file is replaced, and by what; or None and a statement.
    :param names: what the first line has to name: the place, and the remedy.
    """

    what: str
    good: str | None
    bad: str
    names: tuple[str, ...]


MISTAKES = (
    Mistake("Airflow's word for a key", "schedule:", "schedule_interval:", (":3:5:", "did you mean schedule?")),
    Mistake("a typing error in a key", "depends_on:", "depend_on:", (":21:9:", "did you mean depends_on?")),
    Mistake("`id` for `task_id`", "task_id: stg_orders", "id: stg_orders", (":12:9:", "did you mean task_id?")),
    Mistake("`type` for `task_type`", "task_type: dataform", "type: dataform", (":13:9:", "did you mean task_type?")),
    Mistake("an unknown task type", "task_type: dataform", "task_type: data_form", (":13:9:", "did you mean dataform?")),
    Mistake("a key of the configuration is missing", "          region: europe-west3\n", "", ("config.region", "add it")),
    Mistake("a typing error in the configuration", "git_commitish:", "git_comitish:", ("did you mean git_commitish?",)),
    Mistake("Power BI's old word for a key", "semantic_model:", "dataset:", (":25:11:", "did you mean semantic_model?")),
    Mistake(
        "Airflow's trigger rule", "retries: 2", "trigger_rule: all_done", (":22:9:", "did you mean on_parent_skip or run_if?")
    ),
    Mistake(
        "two sources at once", "git_commitish: main", "git_commitish: main\n          workflow_config: x", ("exactly one of",)
    ),
    Mistake("a parent that is not there", "[stg_orders]", "[stg_order]", (":21:9:", "did you mean stg_orders?")),
    Mistake("a parent that is no list", "[stg_orders]", "stg_orders", (":21:9:", "must be a list of task ids")),
    Mistake("a task that follows itself", "[stg_orders]", "[refresh_sales]", (":21:9:", "cannot depend on itself; delete")),
    Mistake(
        "a circle",
        "task_type: dataform\n",
        "task_type: dataform\n        depends_on: [refresh_sales]\n",
        ("form a cycle: refresh_sales → stg_orders → refresh_sales; delete one of them",),
    ),
    Mistake("a task id that is used twice", "task_id: refresh_sales", "task_id: stg_orders", ("task_id: used already", "rename")),
    Mistake("a number as a text", "retries: 2", 'retries: "2"', (":22:9:", "must be a whole number, not '2'")),
    Mistake("a number that is too small", "retries: 2", "retries: -1", (":22:9:", "retries")),
    Mistake("a time zone that is none", "Europe/Berlin", "Europe/Berln", (":5:5:", "did you mean Europe/Berlin?")),
    Mistake("a schedule that is none", '"0 5 * * *"', '"at five"', (":3:5:", "use five cron fields such as '0 5 * * *'")),
    Mistake(
        "a schedule without quotes", '"0 5 * * *"', "* 5 * * *", (", line 3", "put a text that begins with * or & in quotes")
    ),
    Mistake("a day that is none", "2026-01-01", "2026-02-30", (":4:5:", "start_date")),
    Mistake("a task id with a blank", "task_id: refresh_sales", "task_id: refresh sales", ("may hold letters", "rename it")),
    Mistake("an id that is kept", "task_id: refresh_sales", "task_id: start_batch", ("opens every batch; rename it",)),
    Mistake("a default that is not allowed", "default: DE", "default: FR", ("default of country does not fit",)),
    Mistake("a param that is not declared", "semantic_model: Daily Sales", 'semantic_model: "{{ params.land }}"', ("land",)),
    Mistake("a template that does not end", "workspace: Sales", 'workspace: "{{ params.country"', ("config.workspace",)),
    Mistake("code in a template", "workspace: Sales", "workspace: \"{{ ''.__class__ }}\"", ("config.workspace",)),
    Mistake("a tab", "    timezone:", "\ttimezone:", (", line 5", "indent with spaces")),
    Mistake("a blank too few", "    timezone:", "   timezone:", (", line 5", "the indentation of this line and the one above")),
    Mistake(
        "a key that is given twice",
        "    tags: [sales]",
        "    tags: [sales]\n    tags: [x]",
        (", line 7", "given twice; keep one"),
    ),
    Mistake("a workflow without tasks", FILE[FILE.index("    tasks:") :], "    tasks: []\n", ("has no task; add",)),
    Mistake(
        "one workflow without the list",
        "workflows:\n  - workflow_id:",
        "    workflow_id:",
        ('put "workflows:" above it, "- " before workflow_id',),
    ),
    Mistake("a list where the file begins", "workflows:\n", "", ('must be an object with the key "workflows"',)),
    Mistake(
        "a word for a boolean", None, "UPDATE tasks SET enabled = 'maybe' WHERE task_id = 'stg_orders'", ("stg_orders: enabled",)
    ),
    Mistake(
        "a text that is no JSON", None, "UPDATE tasks SET config = '{project: x}' WHERE task_id = 'stg_orders'", ("config:",)
    ),
    Mistake(
        "an edge to another workflow's task",
        None,
        "INSERT INTO workflows (workflow_id) VALUES ('other'); INSERT INTO tasks (task_id, workflow_id, task_type) "
        "VALUES ('b', 'other', 'external'); INSERT INTO task_dependencies (parent_id, child_id) VALUES ('b', 'refresh_sales')",
        ("b → refresh_sales", "a dependency stays inside one workflow"),
    ),
    Mistake("a task without its workflow", None, "DELETE FROM workflows", ("there is no row daily_sales in workflows; add it",)),
    Mistake(
        "a number beyond 64 bits", None, "UPDATE tasks SET retries = 99999999999 WHERE task_id = 'stg_orders'", ("retries:",)
    ),
)


def told(mistake: Mistake, folder: Path) -> str:
    """Return the first line that somebody is told who makes a mistake; ``FILE`` stands for the name of the file."""
    with _of_its_own(folder):
        file = folder / "workflows.yaml"
        if mistake.good is not None:
            if FILE.count(mistake.good) < 1:
                raise ValueError(f"the file has no {mistake.good!r}")
            file.write_text(FILE.replace(mistake.good, mistake.bad, 1))
            return _first_line("validate", str(file)).replace(str(file), "FILE")
        file.write_text(FILE)
        _first_line("import", str(file))
        with contextlib.closing(sqlite3.connect(folder / "accelerator.db")) as connection:
            connection.executescript(f"PRAGMA ignore_check_constraints = ON; {mistake.bad}")
        return _first_line("validate")


def page() -> str:
    """Return the page."""
    lines = [HEAD, "```yaml", FILE.rstrip(), "```", "", "| mistake | what is written | the first line |", "|---|---|---|"]
    for mistake in MISTAKES:
        with tempfile.TemporaryDirectory() as folder:
            said = told(mistake, Path(folder))
        lines.append(f"| {mistake.what} | {_code(_written(mistake))} | {_code(said)} |")
    return "\n".join(lines) + "\n"


def _written(mistake: Mistake) -> str:
    changed = [line.strip() for line in mistake.bad.splitlines() if line.strip()]
    return "; ".join(changed) if changed else "nothing"


def _code(text: str) -> str:
    text = text.replace("\t", "⇥").replace("|", "\\|")
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return f"`` {cut} ``"


def _first_line(*arguments: str) -> str:
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        console(list(arguments))
    return (out.getvalue() or errors.getvalue()).splitlines()[0]


@contextlib.contextmanager
def _of_its_own(folder: Path) -> Iterator[None]:
    """Give commands a database in a folder."""
    try:
        with mock.patch.dict(os.environ, AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN=f"sqlite:///{folder}/accelerator.db"):
            yield
    finally:
        dispose_engines()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
