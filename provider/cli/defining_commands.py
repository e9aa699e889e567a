"""Commands that define workflows and look at definitions, and their arguments. Only the standard library is imported here."""

from __future__ import annotations

from provider.cli.command import OUTPUT, Command, argument, pair, positive

_WORKFLOW = argument("workflow_id", metavar="WORKFLOW", help="workflow id")
_WORKFLOWS_FILE = argument(
    "file", metavar="FILE", help="workflows in YAML, or in JSON when the name ends with .json; - is standard input"
)

_IMPORT = Command(
    "import",
    "Store the workflows of a YAML or JSON file: all of them, or none when one has a problem",
    "provider.cli.workflow_commands:import_workflows",
    (
        _WORKFLOWS_FILE,
        argument("--prune", action="store_true", help="also delete every stored workflow that the file does not have"),
        argument("--dry-run", action="store_true", help="check everything and show what would change, but store nothing"),
    ),
)

_DIFF = Command(
    "diff",
    "Show what an import of a file would change: exit code 0 for nothing, 1 for something, 2 where it cannot be told",
    "provider.cli.diff_commands:diff",
    (
        _WORKFLOWS_FILE,
        argument("--prune", action="store_true", help="as an import that also deletes what the file does not have"),
        OUTPUT,
    ),
    failed=2,
)

_EXPORT = Command(
    "export",
    "Print the stored workflows in the format that import reads",
    "provider.cli.workflow_commands:export",
    (
        argument("workflow_ids", metavar="WORKFLOW", nargs="*", help="only these workflows; all where none is named"),
        argument("--format", choices=("yaml", "json"), default="yaml", help="yaml (default) or json"),
    ),
)

_VALIDATE = Command(
    "validate",
    "Check the stored workflows, or those of a file; exit code 1 when there are problems",
    "provider.cli.workflow_commands:validate_workflows",
    (
        argument("file", metavar="FILE", nargs="?", help="check this file alone, without a database; - is standard input"),
        OUTPUT,
    ),
)

_GRAPH = Command(
    "graph",
    "Show the tasks of a workflow in the order of the flow, and what each of them comes after",
    "provider.cli.graph_commands:graph",
    (
        _WORKFLOW,
        argument("--file", metavar="FILE", help="of this file, without a database; - is standard input"),
        argument(
            "--format",
            choices=("table", "mermaid", "dot", "svg", "json"),
            default="table",
            help="table (default), mermaid for a flowchart that GitHub and many wikis draw, "
            "dot or svg for Graphviz and its picture, or json",
        ),
    ),
)

_CONVERT = Command(
    "convert",
    "Print the tasks and edges of another engine's tables as a file of workflows; what hangs together becomes one",
    "provider.cli.convert_commands:convert_tables",
    (
        argument("url", metavar="URL", help="SQLAlchemy URL of the database; PostgreSQL takes a password from PGPASSWORD"),
        argument("--tasks", metavar="TABLE", help="table of the tasks; by default Tasks"),
        argument("--dependencies", metavar="TABLE", help="table of the edges; by default TaskDependencies"),
        argument(
            "--column",
            type=pair,
            action="append",
            metavar="OURS=THEIRS",
            help="what a column is called there, such as task_id=code; may be repeated",
        ),
        argument(
            "--type",
            type=pair,
            action="append",
            metavar="THEIRS=OURS",
            help="what a task type of theirs is here, such as 7=dataform; may be repeated",
        ),
    ),
)

_SCHEMA = Command(
    "schema",
    "Write the JSON Schema of a file of workflows, for editors",
    "provider.cli.schema_commands:schema",
)

_TASK_TYPES = Command(
    "task-types",
    "List the task types that a task may have",
    "provider.cli.schema_commands:list_task_types",
    (argument("--schema", metavar="TYPE", help="write the JSON Schema of the column config of this type instead"),),
)

_HISTORY = Command(
    "history",
    "List the versions of a workflow, newest first: who stored what, and when",
    "provider.cli.version_commands:history",
    (_WORKFLOW, OUTPUT),
)

_ROLLBACK = Command(
    "rollback",
    "Store the rows of an earlier version of a workflow again",
    "provider.cli.version_commands:rollback",
    (
        _WORKFLOW,
        argument(
            "--to", type=positive, metavar="VERSION", help="this version; by default the newest that differs from what is stored"
        ),
    ),
)

_RENAME = Command(
    "rename",
    "Give a workflow another id, in its rows and in those of others that name it",
    "provider.cli.rename_commands:rename",
    (
        argument("workflow_id", metavar="OLD", help="workflow id"),
        argument("new_id", metavar="NEW", help="the id that it is to have"),
        argument("--dry-run", action="store_true", help="only show what would change"),
    ),
)

_CONFIRM = Command(
    "confirm",
    "List what is gone from the tables, and say that it was meant to go, where it looks like an accident",
    "provider.cli.version_commands:confirm",
    (argument("--dry-run", action="store_true", help="list what is gone, but confirm nothing"),),
)

DEFINING: tuple[Command, ...] = (
    *(_IMPORT, _DIFF, _EXPORT, _VALIDATE, _GRAPH, _CONVERT),
    *(_SCHEMA, _TASK_TYPES, _HISTORY, _ROLLBACK, _RENAME, _CONFIRM),
)
