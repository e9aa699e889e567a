"""Rows with one mistake each, and the line that names it: those of workflows, tasks and dependencies."""

from __future__ import annotations

from tests.dag_factory.bad_config_rows import BAD_CONFIG_ROWS
from tests.dag_factory.bad_task_rows import BAD_TASK_ROWS
from tests.dag_factory.bad_workflow_rows import BAD_WORKFLOW_ROWS

BAD_ROWS = {**BAD_WORKFLOW_ROWS, **BAD_TASK_ROWS, **BAD_CONFIG_ROWS}
# Of two with one name only the second would be tried.
assert len(BAD_ROWS) == len(BAD_WORKFLOW_ROWS) + len(BAD_TASK_ROWS) + len(BAD_CONFIG_ROWS)
