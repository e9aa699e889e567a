"""
Tasks and edges as another table-driven engine keeps them → the plain data of a file of workflows.

Such engines have a table of tasks and one of edges, and no workflows: what hangs together becomes one. Columns and types are
known by what they are usually called; whoever calls them otherwise says so. Nothing is guessed from values, and what is not taken
over is told.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from dag_factory.definition_file import FileData
from dag_factory.task_types.registry import task_types
from provider.plain_data import parse_json

Row = Mapping[str, Any]

#: Our column → what others call it, in small letters and without marks between words.
_COLUMNS = {
    "task_id": ("taskid", "id", "taskname", "name"),
    "task_type": ("tasktype", "type", "kind", "action"),
    "config": ("config", "configuration", "parameters", "params", "extraconfig", "settings"),
    "workflow_id": ("workflowid", "workflow", "pipelineid", "pipeline", "dagid"),
    "enabled": ("enabled", "isenabled", "active", "isactive"),
    "doc": ("doc", "description", "comment"),
    "retries": ("retries", "retrycount", "maxretries"),
    "timeout_seconds": ("timeoutseconds", "timeout"),
}
_EDGE_COLUMNS = {
    "parent_id": ("parentid", "parenttaskid", "parent", "previoustaskid"),
    "child_id": ("childid", "childtaskid", "child", "taskid"),
}
#: What a type of others is called → ours; the first that fits.
_TYPES = (
    (r"dataform", "dataform"),
    (r"power.?bi", "power_bi_refresh"),
    (r"archive|move", "gcs_archive"),
    (r"query|sql", "bigquery_query"),
    (r"load|bigquery", "bigquery_load"),
    (r"external|manual|wait", "external"),
)
#: Types of ours whose name others have for a statement in BigQuery.
_OF_BIGQUERY = frozenset({"sql"})
#: Type → key of its configuration → what others call it.
_KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "dataform": {
        "project_id": ("project", "projectname"),
        "region": ("location",),
        "repository_id": ("repository", "repo", "repositoryname"),
        "git_commitish": ("commitish", "branch"),
        "included_tags": ("tags",),
        "vars": ("variables",),
    },
    "power_bi_refresh": {
        "workspace": ("workspaceid", "workspacename", "group", "groupid"),
        "semantic_model": ("dataset", "datasetid", "datasetname", "semanticmodelid"),
        "report": ("reportid", "reportname"),
    },
    "bigquery_load": {
        "source_objects": ("sourceobject", "object", "file", "filename", "source"),
        "destination_table": ("table", "tablename", "destination", "targettable"),
        "source_format": ("format", "fileformat"),
    },
    "bigquery_query": {"sql": ("query", "statement")},
    "gcs_archive": {
        "source_bucket": ("bucket",),
        "source_object": ("object", "file", "filename"),
        "source_prefix": ("prefix", "folder", "sourcefolder"),
        "destination_prefix": ("archivefolder", "archive", "destinationfolder", "destination"),
    },
    "external": {},
}


#: How tables say that a task is switched off.
_OFF = (False, 0, "0", "f", "F", "false", "n", "N", "no", "off")


@dataclass
class Converted:
    """
    What came of the tables.

    :param notes: what was not taken over, and what somebody should look at.
    """

    data: FileData
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Naming:
    """
    How the tables call things, where that is not as usual.

    :param columns: our column → theirs.
    :param types: their task type → ours.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)


def convert(tasks: Iterable[Row], edges: Iterable[Row], naming: Naming | None = None) -> Converted:
    """
    Return the workflows that tasks and edges amount to, ordered by their ids.

    :param tasks: rows of the table of tasks.
    :param edges: rows of the table of edges.
    :raises ValueError: there is no column for the ids of tasks, or of parents and children.
    """
    return _Conversion(naming or Naming()).run(list(tasks), list(edges))


class _Conversion:
    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._types = task_types()
        self._notes: dict[str, None] = {}

    def run(self, tasks: list[Row], edges: list[Row]) -> Converted:
        entries, groups = self._tasks(tasks)
        parents = self._parents(edges, entries)
        for task_id, found in parents.items():
            if found:
                entries[task_id]["depends_on"] = sorted(found)
        workflows = [
            {"workflow_id": workflow_id, "tasks": [entries[task_id] for task_id in sorted(ids)]}
            for workflow_id, ids in sorted(self._named(parents, groups))
        ]
        return Converted({"workflows": workflows}, list(self._notes))

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def _tasks(self, rows: list[Row]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Return the entries of tasks, and task id → workflow where the table says it."""
        columns = self._columns(rows, _COLUMNS, required=("task_id",))
        entries: dict[str, dict[str, Any]] = {}
        groups: dict[str, str] = {}
        taken: set[str] = set(columns.values())
        for row in rows:
            ours = {name: _plain(row[theirs]) for name, theirs in columns.items() if row[theirs] is not None}
            task_id = str(ours.get("task_id", ""))
            if not task_id or task_id in entries:
                self._note(
                    f"task {task_id} is there twice; the first one was taken" if task_id else "a task without an id was left out"
                )
                continue
            if "workflow_id" in ours:
                groups[task_id] = str(ours.pop("workflow_id"))
            kind = self._type(task_id, ours.get("task_type"))
            others = {name: _plain(value) for name, value in row.items() if name not in columns.values() and value is not None}
            config, used = self._config(task_id, kind, ours.pop("config", None), others)
            taken |= used
            if ours.pop("enabled", True) in _OFF:
                ours["enabled"] = False
            entries[task_id] = {**ours, "task_id": task_id, "task_type": kind, **({"config": config} if config else {})}
        for left in sorted({name for row in rows for name, value in row.items() if value is not None} - taken):
            self._note(f"column {left} of the tasks was not taken over")
        return entries, groups

    def _parents(self, rows: list[Row], entries: Mapping[str, Any]) -> dict[str, set[str]]:
        parents: dict[str, set[str]] = {task_id: set() for task_id in entries}
        columns = self._columns(rows, _EDGE_COLUMNS, required=("parent_id", "child_id"))
        for row in rows:
            parent, child = str(row[columns["parent_id"]]), str(row[columns["child_id"]])
            if parent in parents and child in parents:
                parents[child].add(parent)
            else:
                missing = child if parent in parents else parent
                self._note(f"the edge {parent} → {child} was left out: there is no task {missing}")
        return parents

    def _columns(self, rows: list[Row], known: Mapping[str, tuple[str, ...]], required: tuple[str, ...]) -> dict[str, str]:
        """Return our column → theirs, of those that are there."""
        if not rows:
            return {}
        theirs = {_letters(name): name for name in reversed(list(rows[0]))}
        found = {}
        for ours, names in known.items():
            chosen = self._naming.columns.get(ours)
            if chosen is not None and chosen in rows[0]:
                found[ours] = chosen
            elif chosen is None and (name := next((theirs[one] for one in names if one in theirs), None)) is not None:
                found[ours] = name
        if lacking := [name for name in required if name not in found]:
            raise ValueError(
                f"there is no column for {', '.join(lacking)} among {', '.join(rows[0])}; name it: --column {lacking[0]}=NAME"
            )
        return found

    def _type(self, task_id: str, theirs: Any) -> str:
        text = str(theirs or "")
        if text in self._naming.types:
            return self._naming.types[text]
        if self._types.is_built_in(text) and text not in _OF_BIGQUERY:
            return text
        found = next((ours for pattern, ours in _TYPES if re.search(pattern, text, re.IGNORECASE)), None)
        if found is None:
            self._note(
                f"task type {text or '(none)'} of task {task_id} is not known; it became external, whose end a message tells: "
                f"name another by --type {text or 'THEIRS'}=OURS"
            )
        return found or "external"

    def _config(self, task_id: str, kind: str, stored: Any, others: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """Return a task's configuration, from a column that holds all of it and from columns of its own, and which these are."""
        if isinstance(stored, str):
            with contextlib.suppress(ValueError):  # told below
                stored = parse_json(stored)
        if stored is not None and not isinstance(stored, dict):
            self._note(f"the configuration of task {task_id} is no JSON object and was not taken over")
        given = stored if isinstance(stored, dict) else {}
        task_type = self._types.get(kind)
        fields = set() if task_type is None else set(task_type.config_model.model_fields)
        names = {_letters(ours): ours for ours in fields}
        names |= {theirs: ours for ours, words in _KEYS.get(kind, {}).items() for theirs in words}
        from_columns = {name: value for name, value in others.items() if _letters(name) in names}
        config = {}
        for name, value in {**from_columns, **given}.items():
            ours = names.get(_letters(name), name)
            config[ours] = [value] if ours == "source_objects" and isinstance(value, str) else value
        if kind == "gcs_archive" and "source_object" in config and "destination_prefix" in config:
            # One file goes to a name; others give the folder.
            folder, name = str(config.pop("destination_prefix")).rstrip("/"), str(config["source_object"]).rpartition("/")[2]
            config["destination_object"] = f"{folder}/{name}"
        return config, set(from_columns)

    def _named(self, parents: Mapping[str, set[str]], groups: Mapping[str, str]) -> Iterator[tuple[str, set[str]]]:
        """Yield workflows with their tasks: by the tables' own word, by what the ids have in common, or by the first task."""
        by_word: dict[str, set[str]] = {}
        used = set(groups.values())
        for component in _components(parents):
            if words := {groups[task_id] for task_id in component if task_id in groups}:
                by_word.setdefault(min(words), set()).update(component)
                if len(words) > 1:
                    self._note(
                        f"workflows {', '.join(sorted(words))} became one, {min(words)}, since edges lead from one to another"
                    )
                continue
            shared = os.path.commonprefix(sorted(component)).strip("_-.") if len(component) > 1 else ""  # noqa: RUF071 - ids
            first = min((task_id for task_id in component if not parents[task_id]), default=min(component))
            name = shared if len(shared) > 2 else f"{first}_flow"
            while name in used:
                name += "_"
            used.add(name)
            yield name, component
        yield from by_word.items()


def _components(parents: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """Yield the sets of tasks that hang together."""
    beside: dict[str, set[str]] = {task_id: set(found) for task_id, found in parents.items()}
    for child, found in parents.items():
        for parent in found:
            beside[parent].add(child)
    left = set(parents)
    while left:
        component: set[str] = set()
        reached = [min(left)]
        while reached:
            if (task_id := reached.pop()) not in component:
                component.add(task_id)
                reached += beside[task_id]
        left -= component
        yield component


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _plain(value: Any) -> Any:
    """Return a value of a database as plain data."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)
