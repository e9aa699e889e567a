"""One workflow after another, from its rows or from the last good ones, as long as there is time."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntEnum

from airflow.sdk import DAG, BaseOperator

from dag_factory.budget import Budget
from dag_factory.graph import find_cycle
from dag_factory.problems import Problem, shorten, unchecked, way_around
from dag_factory.prototypes import Prototypes
from dag_factory.sizes import surplus, too_large
from dag_factory.specs import WorkflowSpec
from dag_factory.task_types.registry import TaskTypes
from dag_factory.validation import validate
from dag_factory.workflow_dag import build_dag, last_that_choose
from provider.airflow_internals.dags import UnusableDagError, rehearse
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Entry, Shard, entry_of, to_rows
from provider.texts import counted

#: What of the time may be used up before changed workflows are no longer tried.
_SHARE_OF_CHANGED = 0.7
#: The same for new ones, which are there to be lost from then on: as slow as this makes up for may another parse be.
_SHARE_OF_NEW = 0.5

#: Assets of one DAG file.
_MOST_ASSETS_OF_FILE = 5000


@dataclass
class Built:
    """
    What came of the definitions.

    :param dags: DAG id → DAG.
    :param problems: everything that a person has to repair.
    """

    dags: dict[str, DAG] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class Standing(IntEnum):
    """How the rows of a workflow stand to its last good ones, in the order of building: what there is to lose comes first."""

    #: The same, or not to be used.
    KNOWN = 0
    CHANGED = 1
    #: There are no last good ones.
    NEW = 2

    @classmethod
    def of(cls, rows: DefinitionRows | None, last_good: Entry | None) -> Standing:
        """Compare them; it looks at each row."""
        if last_good is None:
            return cls.NEW
        return cls.KNOWN if rows is None or entry_of(rows) == last_good else cls.CHANGED


_SHARES = {Standing.KNOWN: 1.0, Standing.CHANGED: _SHARE_OF_CHANGED, Standing.NEW: _SHARE_OF_NEW}


class Workshop:
    """
    Builds DAGs, and notes what there was no time for.

    :param only_task: the task this process runs, see :func:`dag_factory.workflow_dag.build_dag`.
    """

    def __init__(self, types: TaskTypes, budget: Budget, *, only_task: str | None = None) -> None:
        self.built = Built()
        #: Workflows that others come after.
        self.followed: Collection[str] = ()
        self._types = types
        self.budget = budget
        self._only_task = only_task
        self._prototypes = Prototypes()
        self._assets: set[str] = set()
        self._postponed: list[str] = []
        self._left_out: list[str] = []

    def make(self, workflow_id: str, rows: DefinitionRows | None, last_good: Entry | None, standing: Standing) -> bool:
        """
        Build one workflow. Where time is short, the last good definition does as well as changed rows, or nothing.

        :param rows: None where they are not to be used.
        :param standing: how the rows stand to the last good ones.
        :return: whether it was built from its rows.
        """
        if rows is not None:
            size = _size(rows)
            in_time = self.budget.allows(size, _SHARES[standing])
            if in_time and self._build(workflow_id, rows, size, "", known=standing is Standing.KNOWN):
                return True
            if not in_time and (problems := too_large(rows)):
                self.built.problems += problems
            elif not in_time:
                (self._left_out if last_good is None else self._postponed).append(workflow_id)
        if last_good is not None:
            old = to_rows([last_good])
            size = _size(old)
            if self.budget.allows(size):
                # What is wrong there was reported when its rows were.
                self._build(workflow_id, old, size, " (of the last good definitions)", known=True)
            else:
                self._left_out.append(workflow_id)
        return False

    def report(self, shard: Shard) -> None:
        """Add a problem for what there was no time for."""
        outcomes = (
            (sorted(set(self._postponed) - set(self._left_out)), "their last good definitions are used"),
            (sorted(self._left_out), "they are left out"),
        )
        for workflow_ids, outcome in outcomes:
            if workflow_ids:
                names, seconds = _names(workflow_ids), f"{self.budget.seconds:g}"
                text = (
                    f"{names} cannot be built within the {seconds} seconds that Airflow's limits leave for it, so {outcome}; "
                    "write more DAG files with `accelerator init FOLDER --shards N`, or raise [core] dagbag_import_timeout and "
                    "[dag_processor] dag_file_processor_timeout"
                )
                self.built.problems.append(Problem("", f"DAG file{shard.title}", text))

    def _build(self, owner: str, rows: DefinitionRows, size: int, origin: str, *, known: bool) -> bool:
        try:
            validated = validate(rows, self._types, storable=known)
        except Exception as error:  # noqa: BLE001 - one row that the checks are not made for must not cost the other workflows
            self.built.problems.append(unchecked(owner, error, origin))
            return False
        self.built.problems += [
            Problem(problem.workflow_id, f"{problem.row}{origin}", problem.message) for problem in validated.problems
        ]
        good = False
        # These are the rows of one workflow, and so are the mistakes in them.
        for workflow_id, valid in ({} if validated.problems else validated.workflows).items():
            spec = valid.model_copy(update={"is_followed": workflow_id in self.followed})
            # What was good and is the same was rehearsed; of types that others write, the code may be another meanwhile.
            tried = known and self._types.are_built_in(task.task_type for task in spec.tasks)
            rehearsed = self._only_task is None and not tried
            try:
                self._make_room(spec)
                dag = usable_dag(spec, self._types, only_task=self._only_task, rehearsed=rehearsed, prototypes=self._prototypes)
            except Exception as error:  # noqa: BLE001 - whatever an operator raises must not cost the other workflows
                problem = unusable(workflow_id, error)
                self.built.problems.append(Problem(workflow_id, f"{problem.row}{origin}", problem.message))
            else:
                self.built.dags[workflow_id] = dag
                self.built.problems += _cannot_be_followed(spec, dag, origin)
                good = True
        self.budget.spent(size, typical=has_own_types(rows, self._types))
        return good

    def _make_room(self, spec: WorkflowSpec) -> None:
        """
        Count the assets of a workflow to those of the DAG file.

        :raises UnusableDagError: they are too many. Airflow asks for all of a file in one statement, which PostgreSQL refuses
            from some thousands on; then nothing of the file is stored, and no import error tells why.
        """
        named = {uri for task in spec.tasks for uri in task.outlets} | set(spec.options.after)
        if spec.is_followed:
            named.add(spec.workflow_id)
        if named and len(self._assets | named) > _MOST_ASSETS_OF_FILE:
            raise UnusableDagError(
                f"with its assets (after, outlets) the DAG file has more than {_MOST_ASSETS_OF_FILE}, which is too many for "
                "Airflow in one file; write more DAG files with `accelerator init FOLDER --shards N`"
            )
        self._assets |= named


def _cannot_be_followed(spec: WorkflowSpec, dag: DAG, origin: str) -> list[Problem]:
    operators = [one for one in dag.tasks if isinstance(one, BaseOperator)]
    last = last_that_choose(operators) if spec.is_followed else []
    text = "task_type: no workflow can come after this one (column after) while {} skips what is behind it; put a task behind it"
    return [Problem(spec.workflow_id, f"tasks row {one.task_id}{origin}", text.format(type(one).__name__)) for one in last]


def usable_dag(
    spec: WorkflowSpec,
    types: TaskTypes,
    *,
    only_task: str | None = None,
    rehearsed: bool = True,
    prototypes: Prototypes | None = None,
) -> DAG:
    """
    Build the DAG of a workflow.

    :param rehearsed: do all with it that Airflow will do; it takes about twice as long as building.
    :raises Exception: whatever an operator refuses, or Airflow. One DAG that Airflow cannot store or send would make every
        DAG of the file vanish.
    """
    dag = build_dag(spec, types, only_task=only_task, prototypes=prototypes)
    if rehearsed:
        # Airflow's own message names another task each time.
        if cycle := find_cycle({task.task_id: task.downstream_task_ids for task in dag.tasks}):
            raise ValueError(f"the operators form a cycle: {way_around(cycle)}")
        rehearse(dag)
    return dag


def unusable(workflow_id: str, error: Exception) -> Problem:
    """Return the problem of a workflow that cannot be built or used; the same text for the same error."""
    known = error if isinstance(error, UnusableDagError) else UnusableDagError(f"{type(error).__name__}: {error}")
    row = f"workflows row {workflow_id}" if known.task_id is None else f"tasks row {known.task_id}"
    # An object's address is another one in each process.
    reason = shorten(re.sub(r" at 0x[0-9a-f]+", "", str(known)), 500)
    if known.column is not None:
        return Problem(workflow_id, row, f"{known.column}: {reason}")
    where = row if known.task_id is None else f"{row}: config"
    return Problem(workflow_id, where, f"cannot be built: {reason}; correct its rows")


def has_own_types(rows: DefinitionRows, types: TaskTypes) -> bool:
    """Tell whether all operators of these rows come with this package, as far as rows tell before they are checked."""
    return types.are_built_in(str(row.get("task_type")) for row in rows.tasks if isinstance(row, dict))


def _size(rows: DefinitionRows) -> int:
    return 1 + len(rows.tasks) + len(rows.dependencies) + surplus([*rows.workflows, *rows.tasks])


def _names(workflow_ids: list[str]) -> str:
    names = ", ".join(workflow_ids[:10]) + (f" and {len(workflow_ids) - 10} more" if len(workflow_ids) > 10 else "")
    return f"{counted(len(workflow_ids), 'workflow')} ({names})"
