"""A workflow, and wishes to run parts of it that cannot be fulfilled."""

from __future__ import annotations

from typing import Any

EDGES = {"stg_orders": ["refresh"], "stg_customers": ["refresh"], "refresh": ["mail"], "mail": [], "archive": []}

#: (conf of a run, what is said of it)
WRONG_WISHES: list[tuple[dict[str, Any], str]] = [
    ({"start_task_id": "stg_order"}, "stg_order.*does not have.*archive, mail, refresh"),
    ({"start_task_id": 7}, "a task id or a list"),
    ({"start_task_id": {"a": 1}}, "a task id or a list"),
    ({"start_task_id": ["mail", None]}, "a task id or a list"),
    ({"scope": "everything"}, "one of workflow, downstream, task"),
    ({"scope": ["task"]}, "one of workflow, downstream, task"),
    ({"scope": "task"}, "needs a start_task_id"),
    ({"start_task_id": [], "scope": "downstream"}, "needs a start_task_id"),
]
