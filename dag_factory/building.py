"""One workflow after another, from its rows or from the last good ones, as long as there is time."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow.sdk import DAG

from dag_factory.budget import Budget
from dag_factory.problems import Problem, shorten
from dag_factory.task_types.registry import TaskTypes
from dag_factory.validation import validate
from dag_factory.workflow_dag import build_dag
from provider.airflow_internals.dags import serialized
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Entry, Shard, to_rows

#: What of the time may be used up before changed and new workflows are no longer tried.
_SHARE_OF_OPTIONAL = 0.7


@dataclass
class Built:
    """
    What came of the definitions.

    :param dags: DAG id → DAG.
    :param problems: everything that a person has to repair.
    """

    dags: dict[str, DAG] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class Workshop:
    """
    Builds DAGs, and notes what there was no time for.

    :param only_task: the task this process runs, see :func:`dag_factory.workflow_dag.build_dag`.
    """

    def __init__(self, types: TaskTypes, budget: Budget, *, only_task: str | None = None) -> None:
        self.built = Built()
        self._types = types
        self._budget = budget
        self._only_task = only_task
        self._postponed: list[str] = []
        self._left_out: list[str] = []

    def make(self, workflow_id: str, rows: DefinitionRows | None, last_good: Entry | None, *, optional: bool = False) -> bool:
        """
        Build one workflow.

        :param rows: None where they are not to be used.
        :param optional: where time is short, the last good definition does as well, or nothing.
        :return: whether it was built from its rows.
        """
        if rows is not None:
            in_time = self._budget.allows(_size(rows), _SHARE_OF_OPTIONAL if optional else 1.0)
            if in_time and self._build(rows, ""):
                return True
            if not in_time:
                (self._left_out if last_good is None else self._postponed).append(workflow_id)
        if last_good is not None:
            old = to_rows([last_good])
            if self._budget.allows(_size(old)):
                # What is wrong there was reported when its rows were.
                self._build(old, " (of the last good definitions)")
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
                names, seconds = _names(workflow_ids), f"{self._budget.seconds:g}"
                text = (
                    f"{names} cannot be built within the {seconds} seconds that Airflow's limits leave for it, so {outcome}; "
                    "write more DAG files with `accelerator init FOLDER --shards N`, or raise [core] dagbag_import_timeout and "
                    "[dag_processor] dag_file_processor_timeout"
                )
                self.built.problems.append(Problem("", f"DAG file{shard.title}", text))

    def _build(self, rows: DefinitionRows, origin: str) -> bool:
        validated = validate(rows, self._types)
        self.built.problems += [
            Problem(problem.workflow_id, f"{problem.row}{origin}", problem.message) for problem in validated.problems
        ]
        good = False
        for workflow_id, spec in validated.workflows.items():
            try:
                dag = build_dag(spec, self._types, only_task=self._only_task)
                if self._only_task is None and not all(self._types.is_built_in(task.task_type) for task in spec.tasks):
                    # One that Airflow cannot store would make every DAG of the file vanish.
                    serialized(dag)
            except Exception as error:  # noqa: BLE001 - whatever an operator raises must not cost the other workflows
                text = f"cannot be built: {type(error).__name__}: {shorten(error, 500)}; correct its rows"
                self.built.problems.append(Problem(workflow_id, f"workflows row {workflow_id}{origin}", text))
            else:
                self.built.dags[workflow_id] = dag
                good = True
        self._budget.spent(_size(rows))
        return good


def _size(rows: DefinitionRows) -> int:
    return 1 + len(rows.tasks) + len(rows.dependencies)


def _names(workflow_ids: list[str]) -> str:
    names = ", ".join(workflow_ids[:10]) + (f" and {len(workflow_ids) - 10} more" if len(workflow_ids) > 10 else "")
    return f"{len(workflow_ids)} workflow{'' if len(workflow_ids) == 1 else 's'} ({names})"
