"""What a DAG says of itself in Airflow: its rows in words, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dag_factory.specs import BATCH_WATCHER, START_BATCH, WorkflowSpec
from provider.texts import cut, first_line

#: Tasks that are listed, and the longest text of one, in characters: Airflow stores the text with each version of the DAG.
_MOST_TASKS = 100
_LONGEST_CELL = 200
_LONGEST_DESCRIPTION = 5000
_MOST_PARENTS = 5


def doc_md(spec: WorkflowSpec, task_ids: Sequence[str]) -> str:
    """
    Return the description of a workflow: how it starts, its tasks in the order of the flow, its params, what is added to them.

    What is switched off is not told: that changes often, and each other text is another version of the DAG.

    :param task_ids: in the order of the flow.
    """
    options = spec.options
    parts = [cut(text.strip(), _LONGEST_DESCRIPTION) for text in (options.description, options.doc) if text]
    parts.append("**Starts** " + "; ".join(_starts(spec)) + ".")
    if options.owner:
        parts.append(f"**Owner** {_text(options.owner)}")
    parts.append("\n".join(_task_table(spec, task_ids)))
    if options.params:
        listed = [f"- `{param.name}` {_text(param.description or '')}".rstrip() for param in options.params]
        parts.append("\n".join(["**Params**", "", *listed]))
    parts.append(
        f"`{START_BATCH}` opens the batch and skips what is not to run in it; `{BATCH_WATCHER}` lets the run fail if a task with "
        "others behind it has failed. Both are added to the tasks above, which are rows of the table `tasks`: "
        f"`accelerator export {spec.workflow_id}` prints them. What ran, and why not, is on *Task batches*."
    )
    return "\n\n".join(parts) + "\n"


def _starts(spec: WorkflowSpec) -> list[str]:
    options = spec.options
    scheduled = [] if options.schedule is None else [f"at `{options.schedule}` in {options.timezone}"]
    by_file = [] if options.file_pattern is None else [f"when a file `{options.file_pattern}` arrives"]
    after = [f"after {_after(options.after)}"] if options.after else []
    return [*scheduled, *after, *by_file, "with a message that names one of its tasks", "or by hand"]


def _task_table(spec: WorkflowSpec, task_ids: Sequence[str]) -> list[str]:
    tasks = {task.task_id: task for task in spec.tasks}
    parents = spec.parents()
    lines = ["| task | type | after | what |", "|---|---|---|---|"]
    for task_id in task_ids[:_MOST_TASKS]:
        task = tasks[task_id]
        kind = f"`{task.task_type}`" + (f", {len(task.expand)} instances" if task.expand else "")
        lines.append(f"| `{task_id}` | {kind} | {_after(parents[task_id])} | {_text(task.doc or '')} |")
    return lines if len(tasks) <= _MOST_TASKS else [*lines, f"| … | | | and {len(tasks) - _MOST_TASKS} more |"]


def _after(parents: Sequence[str]) -> str:
    listed = ", ".join(f"`{parent}`" for parent in parents[:_MOST_PARENTS])
    return f"{listed} and {len(parents) - _MOST_PARENTS} more" if len(parents) > _MOST_PARENTS else listed


def _text(text: str) -> str:
    r"""Return the first line of a person's text, in which nothing is Markdown: ``a|b`` would be two cells."""
    return text and re.sub(r"([\\`*_{}\[\]<>()#+!|~-])", r"\\\1", first_line(text, _LONGEST_CELL))
