"""Commands that ask Airflow or Pub/Sub to do something: their arguments. Only the standard library is imported here."""

from __future__ import annotations

from provider.cli.command import Command, argument

CANCEL = Command(
    "cancel",
    "End batches that run: Airflow marks their DAG runs failed, their tasks end and their remote jobs are cancelled",
    "provider.cli.cancel_commands:cancel",
    (
        argument("batch_ids", metavar="BATCH", nargs="+", help="batch ids"),
        argument("--workflow", metavar="WORKFLOW", help="workflow of the batches, where several have one with such an id"),
        argument("--dry-run", action="store_true", help="only show what runs, and which remote jobs would be cancelled"),
    ),
)

_WORKFLOWS = argument("workflow_ids", metavar="WORKFLOW", nargs="+", help="workflow ids")

PAUSE = Command(
    "pause",
    "Pause workflows in Airflow: batches still come, but none of their tasks begins until they are resumed",
    "provider.cli.switch_commands:pause",
    (_WORKFLOWS,),
)

RESUME = Command("resume", "Let paused workflows go on", "provider.cli.switch_commands:resume", (_WORKFLOWS,))

_SWITCHED = (
    argument("workflow_id", metavar="WORKFLOW", help="workflow id"),
    argument("--task", action="append", default=[], metavar="TASK", help="this task of it instead; may be repeated"),
)

ENABLE = Command(
    "enable", "Switch a workflow, or tasks of it, on in their rows", "provider.cli.switch_commands:enable", _SWITCHED
)

DISABLE = Command(
    "disable",
    "Switch a workflow off in its row: its schedule stops and its messages wait; or tasks of it, which are skipped",
    "provider.cli.switch_commands:disable",
    _SWITCHED,
)
