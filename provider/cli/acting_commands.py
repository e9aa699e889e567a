"""Commands that ask Airflow or Pub/Sub to do something: their arguments. Only the standard library is imported here."""

from __future__ import annotations

from provider.cli.command import Command, argument, positive

_FROM, _ONLY = "from_tasks", "only_tasks"

RUN = Command(
    "run",
    "Start a batch of a workflow, as a message would; --dry-run shows what it would do, and starts nothing",
    "provider.cli.run_commands:run",
    (
        argument("workflow_id", metavar="WORKFLOW", help="workflow id"),
        argument("--from", dest=_FROM, nargs="+", default=[], metavar="TASK", help="only these tasks and what follows them"),
        argument("--only", dest=_ONLY, nargs="+", default=[], metavar="TASK", help="only these tasks"),
        argument(
            "--param",
            dest="params",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="a parameter, as JSON or else as a text; may be repeated",
        ),
        argument("--batch-id", metavar="ID", help="id of the batch; by default a new one"),
        argument("--wait", action="store_true", help="wait for the end, and exit with 1 where it is an ERROR"),
        argument(
            "--timeout", type=positive, default=3600, metavar="SECONDS", help="with --wait: for so long at most (default 3600)"
        ),
        argument("--dry-run", action="store_true", help="only show order, configurations and connections; nothing is called"),
    ),
)

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

PUBLISH = Command(
    "publish",
    "Check a message that starts a batch or tells the end of a task, as the inbox would, and publish it",
    "provider.cli.publish_commands:publish",
    (
        argument("file", metavar="FILE", help="the message, in JSON; - for standard input"),
        argument(
            "--topic", metavar="TOPIC", help="projects/PROJECT/topics/TOPIC; by default that of the dispatcher's subscription"
        ),
        argument(
            "--attribute",
            dest="attributes",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="an attribute of the message; may be repeated",
        ),
        argument("--dry-run", action="store_true", help="only check the message"),
    ),
)
