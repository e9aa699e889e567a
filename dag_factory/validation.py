"""From rows to specs: every mistake is found and named, and spoils only the workflow it belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ValidationError

from dag_factory import templates
from dag_factory.expansion import ExpansionError, expanded
from dag_factory.graph import find_cycle
from dag_factory.problems import (
    Problem,
    describe,
    edge_name,
    in_words,
    row_name,
    searches_bounded,
    shorten,
    suggestion,
    way_around,
)
from dag_factory.sizes import oversized
from dag_factory.specs import MOST_ASSETS, TaskSpec, WorkflowOptions, WorkflowSpec
from dag_factory.task_types import TaskType, templated_keys
from dag_factory.task_types.registry import TaskTypes, task_types
from provider.metadata.rows import DefinitionRows
from provider.plain_data import Flaw, RepeatedKeyError, bytes_in, deeper_than, parse_json, unstorable
from provider.run_conf import FORM_KEYS
from provider.texts import quoted

Row = dict[str, Any]
#: Gives what problems call a row: nearly all rows have none.
RowName = Callable[[], str]

#: Deepest nesting of a row.
_MAX_DEPTH = 40

#: Columns that hold JSON.
_JSON_COLUMNS = frozenset({"default_args", "params", "tags", "after", "config", "expand", "outlets"})

#: Columns of an edge.
_EDGE = {"parent_id", "child_id"}

#: Longest message about a row, in characters.
_MAX_MESSAGE = 1000

_FLAWS = {
    Flaw.NUL: "holds a NUL character, which cannot be stored; remove it",
    Flaw.HALF_CHARACTER: "holds half a surrogate pair, or bytes that are not UTF-8, which cannot be stored; remove it",
    Flaw.NOT_FINITE: "is not a finite number; write another",
    Flaw.TOO_LARGE: "is a whole number of more than 64 bits, which Airflow cannot hand to a task; write it as text",
    Flaw.TOO_DEEP: f"nested deeper than {_MAX_DEPTH} levels; flatten it",
}
_BYTES = "holds bytes (a BLOB) instead of text or a number; write it anew"


@dataclass(frozen=True)
class Validated:
    """
    What the rows amount to.

    :param workflows: id → workflow without any problem.
    :param problems: everything that is wrong, ordered.
    """

    workflows: dict[str, WorkflowSpec] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def validate(
    rows: DefinitionRows, types: TaskTypes | None = None, *, only_task: str | None = None, storable: bool = False
) -> Validated:
    """
    Check rows of the three tables.

    :param rows: rows as read from the tables or from a file.
    :param types: task types that may be used; default: all installed ones.
    :param only_task: the configuration of this task alone is looked at.
    :param storable: the rows are known to be good, so it is not looked for values that cannot be kept, which takes longest.
    :return: the workflows that can be built, and the problems of the others. Nothing is raised for what rows say.
    """
    with searches_bounded():
        return _Validation(rows, types or task_types(), only_task, storable=storable).run()


class _Validation:
    def __init__(self, rows: DefinitionRows, types: TaskTypes, only_task: str | None, *, storable: bool) -> None:
        self._rows = rows
        self._storable = storable
        self._types = types
        self._only_task = only_task
        self._problems: set[Problem] = set()
        self._options: dict[str, WorkflowOptions] = {}
        self._params: dict[str, frozenset[str]] = {}
        self._tasks: dict[str, dict[str, TaskSpec]] = defaultdict(dict)
        self._edges: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self._workflow_of: dict[str, str] = {}
        for row in rows.tasks:
            if isinstance(row, dict) and isinstance(task_id := row.get("task_id"), str):
                self._workflow_of.setdefault(task_id, str(row.get("workflow_id")))
        self._tasks_of: dict[str, list[str]] = defaultdict(list)
        for task_id, owner in self._workflow_of.items():
            self._tasks_of[owner].append(task_id)

    def run(self) -> Validated:
        known: set[str] = set()
        for row in self._rows.workflows:
            self._check_workflow(row, known)
        seen: dict[str, str] = {}
        for row in self._rows.tasks:
            self._check_task(row, known, seen)
        for row in self._rows.dependencies:
            self._check_edge(row)
        for workflow_id in sorted(known):
            self._check_graph(workflow_id)
        broken = {problem.workflow_id for problem in self._problems}
        workflows = {
            workflow_id: WorkflowSpec(
                options=options,
                tasks=tuple(self._tasks[workflow_id][task_id] for task_id in sorted(self._tasks[workflow_id])),
                edges=tuple(sorted(self._edges[workflow_id])),
            )
            for workflow_id, options in sorted(self._options.items())
            if workflow_id not in broken
        }
        return Validated(workflows, sorted(self._problems))

    def _report(self, workflow_id: object, name: RowName, *messages: str) -> None:
        if messages:
            owner, row = workflow_id if isinstance(workflow_id, str) else "", name()
            self._problems |= {Problem(owner, row, shorten(message, _MAX_MESSAGE)) for message in messages}

    def _check_workflow(self, row: Row, known: set[str]) -> None:
        key = row.get("workflow_id") if isinstance(row, dict) else None
        name = partial(row_name, "workflows", "workflow_id", key)
        if isinstance(key, str) and key in known:
            self._report(key, name, "given more than once; keep one")
            return
        if isinstance(key, str):
            known.add(key)
        if not self._storable and (reasons := list(_unstorable(row))):
            self._report(key, name, *reasons)
            return
        try:
            options = WorkflowOptions.model_validate(row)
        except ValidationError as error:
            self._report(key, name, *describe(error, WorkflowOptions))
        else:
            self._options[options.workflow_id] = options
            self._params[options.workflow_id] = frozenset(param.name for param in options.params) | FORM_KEYS

    def _check_task(self, row: Row, known: set[str], seen: dict[str, str]) -> None:
        workflow_id, task_id = (row.get("workflow_id"), row.get("task_id")) if isinstance(row, dict) else (None, None)
        name = partial(row_name, "tasks", "task_id", task_id)
        if not self._storable and (reasons := list(_unstorable(row))):
            self._report(workflow_id, name, *reasons)
            return
        if isinstance(workflow_id, str) and workflow_id not in known:
            self._report(workflow_id, name, f"workflow_id: there is no row {shorten(workflow_id)} in workflows; add it")
        if isinstance(task_id, str):
            if task_id in seen:
                where = "" if seen[task_id] == workflow_id else f" by workflow {seen[task_id]}"
                text = f"task_id: used already{where}; task ids are unique over all workflows, rename one"
                self._report(workflow_id, name, text)
                return
            seen[task_id] = str(workflow_id)
        try:
            task = TaskSpec.model_validate(row)
        except ValidationError as error:
            self._report(workflow_id, name, *describe(error, TaskSpec))
            task = None
        declared = self._params.get(str(workflow_id))
        if task is not None and task.run_if is not None and declared is not None:
            self._report(workflow_id, name, *(f"run_if: {said}" for said in templates.check_condition(task.run_if, declared)))
        if task is not None and self._only_task not in (None, task.task_id):
            self._tasks[task.workflow_id][task.task_id] = task
            return
        config = self._check_config(row, name, () if task is None else task.expand)
        if task is not None and config is not None:
            self._tasks[task.workflow_id][task.task_id] = task.model_copy(update={"config": config})

    def _check_config(self, row: Row, name: RowName, items: Sequence[Any]) -> Any:
        """
        Return the typed configuration, or None after a report.

        :param items: what the task is expanded over; then the configuration of each instance is returned.
        """
        workflow_id, type_name, config = row.get("workflow_id"), row.get("task_type"), row.get("config", {})
        if not isinstance(type_name, str):
            return None
        try:
            task_type = self._types.get(type_name)
        except ImportError as error:
            text = f"task_type: {type_name} cannot be loaded ({shorten(error, 300)}); repair its package"
            self._report(workflow_id, name, text)
            return None
        if task_type is None:
            hint = suggestion(type_name, list(self._types), "known types are")
            self._report(workflow_id, name, f"task_type: {in_words(type_name)} is not known; {hint}")
            return None
        if not isinstance(config, dict):
            self._report(workflow_id, name, f'config: must be an object such as {{"key": "value"}}, not {in_words(config)}')
            return None
        if not items:
            return self._typed(row, name, task_type, config)
        if not task_type.can_expand:
            self._report(workflow_id, name, f"expand: a task of type {type_name} has one instance; make a task of each")
            return None
        try:
            configs = expanded(config, items)
        except ExpansionError as error:
            self._report(workflow_id, name, f"expand: {error}")
            return None
        typed = []
        for index, one in enumerate(configs):
            typed.append(self._typed(row, name, task_type, one, f"expand[{index}]: "))
            if typed[-1] is None:
                return None
        return tuple(typed)

    def _typed(self, row: Row, name: RowName, task_type: TaskType, config: Row, instance: str = "") -> Any:
        """Return a configuration as its type has it, or None after a report."""
        workflow_id, model = row.get("workflow_id"), task_type.config_model
        declared = self._params.get(str(workflow_id))
        said = [] if declared is None else [*templates.check_config(config, templated_keys(model), declared)]
        typed = None
        try:
            typed = model.model_validate(config)
        except ValidationError as error:
            said += describe(error, model, "config", task_type.other_names)
        self._report(workflow_id, name, *(f"{instance}{one}" for one in said))
        return None if instance and said else typed

    def _check_edge(self, row: Row) -> None:
        parent, child = (row.get("parent_id"), row.get("child_id")) if isinstance(row, dict) else (None, None)
        name = partial(edge_name, parent, child)
        owners = [self._workflow_of[end] for end in (child, parent) if isinstance(end, str) and end in self._workflow_of]
        owner = owners[0] if owners else None
        if not isinstance(parent, str) or not isinstance(child, str):
            self._report(owner, name, "needs two task ids: parent_id and child_id")
            return
        if row.keys() != _EDGE and (extra := sorted(set(map(str, row)) - _EDGE)):
            self._report(owner, name, f"unknown key {shorten(extra[0])}; known keys are: child_id, parent_id")
        for task_id in (parent, child):
            if task_id not in self._workflow_of:
                if bytes_in(task_id) is not None:
                    text = f"{'parent_id' if task_id is parent else 'child_id'}: {_BYTES}"
                elif owner is None:
                    text = f"there is no task {shorten(task_id)}; add it, or delete the row"
                else:
                    hint = suggestion(task_id, self._tasks_of[owner], f"tasks of workflow {shorten(owner)} are")
                    text = f"{shorten(task_id)} is not a task of this workflow; {hint}"
                self._report(owner, name, text)
        if parent == child:
            self._report(owner, name, "a task cannot depend on itself; delete the row")
        elif parent in self._workflow_of and child in self._workflow_of and owner is not None:
            if self._workflow_of[parent] != owner:
                text = f"{parent} belongs to workflow {shorten(self._workflow_of[parent])}, but {child} to {shorten(owner)}; "
                self._report(owner, name, f"{text}a dependency stays inside one workflow")
            elif (parent, child) in self._edges[owner]:
                self._report(owner, name, "given more than once; keep one")
            self._edges[owner].add((parent, child))

    def _check_graph(self, workflow_id: str) -> None:
        """Check the workflow as a whole."""
        name = partial(row_name, "workflows", "workflow_id", workflow_id)
        children: dict[str, list[str]] = {task_id: [] for task_id in self._tasks_of.get(workflow_id, ())}
        if not children:
            self._report(workflow_id, name, "has no task; add a row to tasks")
        for parent, child in self._edges[workflow_id]:
            children.setdefault(parent, []).append(child)
            children.setdefault(child, [])
        if cycle := find_cycle(children):
            self._report(workflow_id, name, f"dependencies form a cycle: {way_around(cycle)}; delete one of them")
        else:
            assets = {uri for task in self._tasks[workflow_id].values() for uri in task.outlets}
            if len(assets) > MOST_ASSETS:
                self._report(workflow_id, name, f"outlets: its tasks make {len(assets)} assets, and {MOST_ASSETS} are allowed")
            for task_id, message in _group_problems(self._tasks[workflow_id], children):
                self._report(workflow_id, partial(row_name, "tasks", "task_id", task_id), f"task_group: {message}")


def _group_problems(tasks: Mapping[str, TaskSpec], children: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    """Yield why Airflow could not draw the groups of a workflow, whose tasks make no cycle, and a task that it is about."""
    group_of = {task_id: task.task_group for task_id, task in tasks.items() if task.task_group is not None}
    if not group_of:
        return
    for name in sorted(set(group_of.values()) & children.keys()):
        yield min(task_id for task_id, group in group_of.items() if group == name), f"{name} is a task too; rename one"
    # Each group as one node, as Airflow shows it.
    drawn: dict[str, set[str]] = defaultdict(set)
    for parent, behind in children.items():
        node = group_of.get(parent, parent)
        drawn[node] |= {group_of.get(child, child) for child in behind} - {node}
    if cycle := find_cycle(drawn):
        first = min(task_id for task_id, group in group_of.items() if group in cycle)
        yield first, f"the groups and tasks form a cycle: {way_around(cycle)}; take a task out of its group"


def _unstorable(row: Any) -> Iterator[str]:
    """Yield why a row cannot be kept by a database, handed to a task by Airflow, or read in time."""
    if not isinstance(row, dict):
        yield f"must be an object, not {in_words(row)}"
        return
    for found in unstorable(row, max_depth=_MAX_DEPTH):
        if found.flaw is Flaw.KEY_IS_NO_TEXT:
            yield f"{shorten(found.path) or 'row'}: the key {in_words(found.value)} must be text; put it in quotes"
        else:
            yield f"{shorten(found.path)}: {_FLAWS[found.flaw] if bytes_in(found.value) is None else _BYTES}"
    yield from oversized(row)
    for column in sorted(_JSON_COLUMNS & row.keys()):
        if isinstance(text := row[column], str) and (reason := _why_unread(text)) is not None:
            yield f"{column}: {reason}"


def _why_unread(text: str) -> str | None:
    """Return why a JSON text was not read; None where it is none, which is told by the column's own check."""
    try:
        too_deep = deeper_than(_MAX_DEPTH, parse_json(text))
    except RepeatedKeyError as error:
        return f"has the key {quoted(error.key)} twice in one object; keep one"
    except RecursionError:
        too_deep = True
    except ValueError:
        return None
    return _FLAWS[Flaw.TOO_DEEP] if too_deep else None
