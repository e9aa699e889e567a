"""
DAGs as Airflow stores them, and the instances of mapped operators.

Airflow is imported when it is asked: its serialization is large, and no task process needs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provider.exceptions import AcceleratorError

if TYPE_CHECKING:
    from airflow.sdk import DAG, BaseOperator


class Unsaid(Enum):
    """What a stored DAG has in place of a parameter of a mapped task's operator."""

    DEFAULT = "left at the default of its operator"
    EXPANDED = "another one for each map index"


def serialized(dag: DAG) -> dict[str, Any]:
    """
    Return a DAG as Airflow stores it: what JSON can hold, the same for the same DAG.

    Stands on ``airflow.serialization.serialized_objects.DagSerialization`` (3.3.2), by which the dag-processor stores DAGs.

    :raises airflow.exceptions.SerializationError: Airflow cannot store the DAG. The dag-processor would report that for the
        file of the DAG, and lose the other DAGs in it.
    """
    from airflow.serialization.serialized_objects import DagSerialization

    stored: dict[str, Any] = DagSerialization.to_dict(dag)
    return stored


class UnusableDagError(AcceleratorError):
    """
    Airflow cannot use a DAG; the message says why.

    :param task_id: the task that is to blame; None where it is the DAG as a whole.
    :param column: of the task's row, or of the workflow's; None where that is not known.
    """

    def __init__(self, reason: str, task_id: str | None = None, column: str | None = None) -> None:
        super().__init__(reason)
        self.task_id = task_id
        self.column = column


def rehearse(dag: DAG) -> None:
    """
    Do with a DAG what the dag-processor and the scheduler will: check, store, send and read it, and compute its next runs.

    Stands on (3.3.2) ``DAG.validate`` and ``DAG.check_cycle``, as ``DagBag.bag_dag`` calls them;
    ``airflow.sdk.execution_time.comms._RequestFrame``, in which a parse is sent to the dag-processor;
    ``DagSerialization.from_dict``; ``SerializedDAG._time_restriction``, from which ``next_dagrun_info`` computes the next run,
    and logs an error instead of raising it.

    :raises UnusableDagError: one of these fails. In the dag-processor that would cost all DAGs of the file; or the DAG's runs.
    """
    from airflow.serialization.serialized_objects import DagSerialization

    try:
        dag.validate()  # type: ignore[no-untyped-call]
        dag.check_cycle()
        dag.resolve_template_files()  # type: ignore[no-untyped-call]
        _check_executors(dag)
        stored = serialized(dag)
        _send(stored)
        _compute_runs(DagSerialization.from_dict(stored))
    except Exception as error:
        raise UnusableDagError(f"{type(error).__name__}: {error}", _to_blame(dag)) from error


def finish_instances(mapped: Any, finish: Callable[[int, BaseOperator], None]) -> None:
    """
    Let each instance of a mapped operator be changed as it is made, before it is rendered.

    Stands on ``airflow.sdk.definitions.mappedoperator.MappedOperator.unmap`` (3.3.2), by which ``render_template_fields`` makes
    an instance of the class alone: it hands on nothing that was changed on the mapped operator. It is called with the very one
    of ``expand_input.value`` that the map index has.

    :param mapped: made by ``expand_kwargs`` of a list.
    :param finish: is called with the map index and the instance; with 0, where arguments were asked for that no instance has.
    """
    mapped.unmap = partial(_finished, mapped, finish)


def _finished(mapped: Any, finish: Callable[[int, BaseOperator], None], resolve: Mapping[str, Any]) -> BaseOperator:
    made: BaseOperator = type(mapped).unmap(mapped, resolve)
    finish(next((number for number, own in enumerate(mapped.expand_input.value) if own is resolve), 0), made)
    return made


@contextmanager
def no_dags_registered() -> Iterator[None]:
    """
    Let what is imported within a ``with`` add no DAG to the file that is parsed.

    Stands on ``airflow.sdk.definitions._internal.contextmanager.DagContext.autoregistered_dags`` (3.3.2): a DAG in a ``with``
    statement adds itself there, and the parse takes all that is in it.
    """
    from airflow.sdk.definitions._internal.contextmanager import DagContext

    before = set(DagContext.autoregistered_dags)
    try:
        yield
    finally:
        DagContext.autoregistered_dags.intersection_update(before)


def _check_executors(dag: DAG) -> None:
    """
    Look whether the executors of tasks are configured, as ``DagBag`` does for each DAG.

    Stands on ``airflow.dag_processing.dagbag._validate_executor_fields`` (3.3.2).
    """
    if any(task.executor for task in dag.tasks):
        from airflow.dag_processing.dagbag import _validate_executor_fields

        _validate_executor_fields(dag)


def _send(stored: Any) -> None:
    from airflow.sdk.execution_time.comms import _RequestFrame

    _RequestFrame(id=0, body={"data": stored}).as_bytes()
    # PostgreSQL takes no NaN, and no half characters.
    json.dumps(stored, allow_nan=False, ensure_ascii=False).encode()


def _compute_runs(dag: Any) -> None:
    if not dag.timetable.can_be_scheduled:
        return
    last = None
    for _ in range(2):
        last = dag.timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=dag._time_restriction)
        if last is None:
            return


def _to_blame(dag: DAG) -> str | None:
    """Return the task that cannot be stored or sent by itself."""
    from airflow.serialization.serialized_objects import OperatorSerialization

    for task in dag.tasks:
        try:
            _send(OperatorSerialization.serialize_operator(task))
        except Exception:  # noqa: BLE001 - whichever error it is, the caller tells the DAG's
            return str(task.task_id)
    return None


def dags_folder() -> Path:
    """
    Return Airflow's ``[core] dags_folder``.

    Stands on ``airflow.configuration.conf`` (3.3.2), whose import makes Airflow's home and its configuration file where they
    are missing.
    """
    from airflow.configuration import conf

    return Path(conf.get_mandatory_value("core", "dags_folder")).expanduser()
