"""
The command line of ``accelerator`` and ``airflow accelerator``: every command with its arguments, once for both.

Only the standard library is imported here, so that ``accelerator --help`` answers at once. The module with a command's
handler is imported when the command runs, and imports at its top what it needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from provider.cli.acting_commands import CANCEL, DISABLE, ENABLE, PAUSE, PUBLISH, RESUME, RUN
from provider.cli.alerting_commands import ALERTS
from provider.cli.command import OUTPUT, Command, Group, argument, day, port, positive
from provider.cli.command_parser import CommandParser
from provider.cli.defining_commands import DEFINING

_REQUEST_STATES = ("received", "dispatched", "recorded", "duplicate", "rejected")
_BATCH_STATUSES = ("NEW", "PROCESSING", "SUCCESS", "ERROR")

_INIT = Command(
    "init",
    "Write the DAG files into a DAG folder",
    "provider.cli.dag_file_commands:init",
    (
        argument(
            "folder", metavar="FOLDER", nargs="?", help="by default Airflow's [core] dags_folder; created where it is missing"
        ),
        argument("--force", action="store_true", help="overwrite files that were changed by hand"),
        argument(
            "--shards",
            type=positive,
            metavar="N",
            help="spread the workflows over N DAG files; by default as many as the folder has, or one",
        ),
    ),
)

_EXAMPLES = Command(
    "examples",
    "Write the examples into a folder: workflows, what the emulators know of them, and hand-written DAGs",
    "provider.cli.example_commands:write_examples",
    (
        argument(
            "folder", metavar="FOLDER", nargs="?", default="examples", help="by default examples; created where it is missing"
        ),
    ),
)

_DB = Group(
    "db",
    "Look after the application database",
    (
        Command(
            "upgrade",
            "Upgrade the application database to the schema of this version",
            "provider.cli.database_commands:upgrade",
        ),
        Command(
            "downgrade",
            "Take the application database back to an earlier schema, for an earlier version; says what that loses",
            "provider.cli.database_commands:downgrade",
            (
                argument("--to", required=True, metavar="REVISION", help="the schema of the earlier version, such as 0002"),
                argument("--yes", action="store_true", help="lose what is listed without it; nothing else brings it back"),
            ),
        ),
        Command("current", "Show the schema of the application database", "provider.cli.database_commands:current"),
        Command(
            "clean",
            "Delete batches that ended long ago, with their task logs; never one that has not ended",
            "provider.cli.database_commands:clean",
            (
                argument("--before", type=day, required=True, metavar="DAY", help="those that ended before this day, in UTC"),
                argument("--dry-run", action="store_true", help="only count them"),
            ),
        ),
    ),
)

_BATCHES = Command(
    "batches",
    "List task batches, newest first",
    "provider.cli.batch_commands:list_batches",
    (
        argument("--workflow", metavar="WORKFLOW", help="only batches of this workflow"),
        argument("--status", type=str.upper, choices=_BATCH_STATUSES, help="only batches with this status"),
        argument("--limit", type=positive, default=20, metavar="N", help="at most N batches (default 20)"),
        argument("--watch", action="store_true", help="show them anew every two seconds, until Ctrl-C"),
        OUTPUT,
    ),
)

_WORKFLOW_OF_BATCH = argument("--workflow", metavar="WORKFLOW", help="workflow of the batch, where several have one with this id")

_LOGS = Command(
    "logs",
    "Show what happened to the tasks of a batch, one line for each try",
    "provider.cli.batch_commands:show_logs",
    (
        argument("batch_id", metavar="BATCH", help="batch id, which is the run id of the DAG run; latest for the newest"),
        _WORKFLOW_OF_BATCH,
        OUTPUT,
    ),
)

_WHY = Command(
    "why",
    "Say what keeps a batch, a task of it or a message from running",
    "provider.cli.why_commands:why",
    (
        argument(
            "names", metavar="NAME", nargs="+", help="a batch or a message; or a task, then its batch; latest for the newest"
        ),
        _WORKFLOW_OF_BATCH,
        OUTPUT,
    ),
)

_RESTART = Command(
    "restart",
    "Run the failed and blocked tasks of batches again; what has succeeded stays as it is, unless --from says so",
    "provider.cli.restart_commands:restart",
    (
        argument("batch_ids", metavar="BATCH", nargs="*", help="batch ids"),
        argument("--failed", action="store_true", help="every batch that has failed, newest first; see --workflow and --limit"),
        argument("--workflow", metavar="WORKFLOW", help="only batches of this workflow"),
        argument(
            "--task",
            action="append",
            default=[],
            metavar="TASK",
            help="only this failed or blocked task, and what is blocked behind it; may be repeated",
        ),
        argument(
            "--from",
            dest="from_tasks",
            action="append",
            default=[],
            metavar="TASK",
            help="this task and everything behind it, also what has succeeded; may be repeated",
        ),
        argument("--limit", type=positive, default=20, metavar="N", help="with --failed: at most N batches (default 20)"),
        argument("--dry-run", action="store_true", help="only show what would run again, and which remote jobs start anew"),
        OUTPUT,
    ),
)

_RECONCILE = Command(
    "reconcile",
    "Make batches and task logs equal to Airflow's state, where no scheduler does that",
    "provider.cli.reconcile_commands:reconcile",
    (
        argument("--since", type=day, metavar="DAY", help="look at what changed since this day, in UTC (default: a week)"),
        argument("--check", action="store_true", help="change nothing; show what differs, and exit with 1 where anything does"),
        argument("--watch", action="store_true", help="go on until SIGTERM or Ctrl-C"),
        argument(
            "--reader",
            choices=("auto", "database", "api"),
            default="auto",
            help="where Airflow's state is read: its own database where that is reached (auto), or its REST API",
        ),
        OUTPUT,
    ),
)

_REQUESTS = Command(
    "requests",
    "List the messages that wait or were rejected, newest first; `requests retry ID` gives them another chance",
    "provider.cli.request_commands:requests",
    (
        argument(
            "action",
            nargs="?",
            choices=("retry",),
            help="retry: read the message of a rejected request once more, or try a waiting one at once",
        ),
        argument("request_ids", metavar="ID", nargs="*", type=positive, help="requests to retry"),
        argument("--payload", metavar="FILE", help="retry: what the message should have said; - reads standard input"),
        argument("--state", choices=(*_REQUEST_STATES, "all"), help="only requests in this state; all shows every request"),
        argument("--workflow", metavar="WORKFLOW", help="only requests for this workflow"),
        argument("--limit", type=positive, default=20, metavar="N", help="at most N requests (default 20)"),
        OUTPUT,
    ),
)

_DOCTOR = Command(
    "doctor",
    "Check everything that this package stands on, and say what to do; exit code 1 where a check finds an error",
    "provider.cli.doctor_commands:doctor",
    (
        argument("--leave", metavar="TOKEN", help="check nothing; leave a token in the application database"),
        argument("--expect", metavar="TOKEN", help="also look for a token that another machine has left there"),
        OUTPUT,
    ),
)

_EMULATORS = Command(
    "emulators",
    "Serve local stand-ins for Dataform, Power BI and Pub/Sub until Ctrl-C, to try workflows without a cloud",
    "provider.cli.emulator_commands:serve",
    (
        argument("--scenario", metavar="FILE", help="YAML file that says what the services know and how jobs end"),
        argument("--env-file", metavar="FILE", help="also write the environment variables to export into this file"),
        argument("--folder", metavar="FOLDER", help="keep certificates, ledger and logs here; by default a temporary folder"),
        argument("--pubsub", choices=("auto", "google", "builtin"), default="auto", help="which Pub/Sub to start (default auto)"),
        *(
            argument(
                f"--{service}-port",
                type=port,
                default=default,
                metavar="PORT",
                help=f"port of {title} (default {default}); 0 takes a free one",
            )
            for service, title, default in (
                ("dataform", "Dataform", 9061),
                ("powerbi", "Power BI", 9062),
                ("pubsub", "Pub/Sub", 8085),
                ("admin", "the emulators' own interface", 9063),
            )
        ),
    ),
)

COMMANDS: tuple[Command | Group, ...] = (
    _INIT,
    _EXAMPLES,
    _DB,
    *DEFINING,
    *(PAUSE, RESUME, ENABLE, DISABLE),
    *(_BATCHES, _LOGS, _WHY, RUN, _RESTART, CANCEL, _RECONCILE, _REQUESTS, PUBLISH, ALERTS, _DOCTOR, _EMULATORS),
)

PROGRAM_HELP = "Workflows in tables, run by Airflow: define them, check them, see their batches and task logs"


def build_parser() -> CommandParser:
    """Return the parser of the console script; a parsed command carries itself in ``command_definition``."""
    parser = CommandParser(prog="accelerator", description=PROGRAM_HELP, allow_abbrev=False)
    parser.add_argument(
        "--version", action=_Version, nargs=0, dest=argparse.SUPPRESS, help="show the version of this package and exit"
    )
    _add_commands(parser, COMMANDS)
    return parser


class _Version(argparse.Action):
    """Tell the version; only who asks for it pays for looking it up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"airflow-provider-cloud-accelerator {version('airflow-provider-cloud-accelerator')}\n")
        parser.exit()


def _add_commands(parser: CommandParser, commands: Sequence[Command | Group]) -> None:
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help, allow_abbrev=False)
        parser.commands[command.name] = subparser
        if isinstance(command, Group):
            _add_commands(subparser, command.commands)
            continue
        for one in command.arguments:
            subparser.add_argument(*one.flags, **one.options)
        subparser.set_defaults(command_definition=command)
