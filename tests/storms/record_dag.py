"""The hand-written workflows of the record's chaos, parsed by a real Airflow: every end that a task can have by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from provider.operators.task_batch import ScopeGuard, StartBatchOperator

#: How long a task waits for its person, in seconds.
PATIENCE = 900.0
#: Lines of a secret: nothing of it may be in a row.
CANARY = ("-----BEGIN PRIVATE KEY-----", "MIIEcanary0123456789abcdef0123456789", "-----END PRIVATE KEY-----")


def fail() -> NoReturn:
    raise ValueError("Table raw.suppliers\nwas not found")


def fail_with_one_word() -> NoReturn:
    raise KeyError(7)


def fail_at_length() -> NoReturn:
    raise ValueError("too long " + "x" * 8000)


def fail_with_a_secret() -> NoReturn:
    raise ValueError("cannot log in with\n" + "\n".join(CANARY) + "\nat all")


def skip() -> NoReturn:
    raise AirflowSkipException("nothing to load")


def succeed_the_second_time() -> None:
    if get_current_context()["ti"].try_number == 1:
        raise RuntimeError("try again")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_the_first_time() -> None:
    if get_current_context()["ti"].try_number == 1:
        killed()


def lose_the_worker() -> None:
    """End this process and the one that looks after it, as a lost machine would."""
    os.kill(os.getppid(), signal.SIGKILL)
    killed()


def noop(*_values: Any) -> None:
    return None


def take_too_long() -> None:
    time.sleep(PATIENCE)


def nothing() -> list[list[str]]:
    return []


def three_then_one() -> list[list[str]]:
    """Return fewer after a clear: the instances that are too many are removed."""
    return [["a"], ["b"], ["c"]] if get_current_context()["ti"].try_number == 1 else [["a"]]


def fail_if_told() -> None:
    context = get_current_context()
    if context["params"].get("fail"):
        raise ValueError("told to fail")


def _file(folder: str) -> Path:
    path = Path(os.environ["AIRFLOW_HOME"], folder)
    path.mkdir(exist_ok=True)
    return path / str(get_current_context()["dag_run"].run_id)


def wait_for_a_person() -> None:
    """Say that this run is here, and go on when somebody says so."""
    _file("here").touch()
    deadline = time.monotonic() + PATIENCE
    while not _file("go").exists() and time.monotonic() < deadline:
        time.sleep(0.2)


def fail_when_here() -> NoReturn:
    """Fail as soon as the task beside waits."""
    while not _file("here").exists():
        time.sleep(0.2)
    fail()


class DeferringOperator(BaseOperator):
    """
    Waits in the triggerer.

    :param seconds: for how long.
    """

    def __init__(self, *, seconds: float = PATIENCE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seconds = seconds

    def execute(self, context: Any) -> None:
        timeout = timedelta(seconds=3) if self.task_id == "waits_too_long" else None
        trigger = DateTimeTrigger(datetime.now(UTC) + timedelta(seconds=self.seconds))
        self.defer(trigger=trigger, method_name="resume", timeout=timeout)

    def resume(self, context: Any, event: Any = None) -> None:
        """Do nothing more."""


class ThirdLookSensor(BaseSensorOperator):
    """Gives its worker back between two looks."""

    def poke(self, context: Any) -> bool:
        return bool(context["ti"].get_first_reschedule_date(context))


CALLS: dict[str, Callable[..., Any]] = {
    "fails": fail,
    "says_seven": fail_with_one_word,
    "says_much": fail_at_length,
    "says_a_secret": fail_with_a_secret,
    "skips_itself": skip,
    "second_time": succeed_the_second_time,
    "killed": killed,
    "killed_once": killed_the_first_time,
    "lost": lose_the_worker,
    "goes_away": partial(os._exit, 0),
    "no_list": nothing,
    "lists": three_then_one,
    "waits": wait_for_a_person,
    "fails_beside": fail_when_here,
    "fails_if_told": fail_if_told,
}
RETRYING = ("second_time", "killed_once")


def make_task(task_id: str, settings: dict[str, Any]) -> Any:
    """Return the task of this name; what it does is in the name."""
    common = {"task_id": task_id, "trigger_rule": "none_failed", "pre_execute": ScopeGuard(), **settings}
    if task_id.endswith("empty"):
        return EmptyOperator(**common)
    if task_id == "mapped":
        return PythonOperator.partial(python_callable=noop, **common).expand(op_args=[["a"], ["b"]])
    if task_id == "branch":
        return BranchPythonOperator(python_callable=lambda: "chosen", **common)
    if task_id == "stops_here":
        return ShortCircuitOperator(python_callable=lambda: False, **common)
    if task_id == "looks_again":
        return ThirdLookSensor(mode="reschedule", poke_interval=2, **common)
    if task_id in ("defers", "waits_too_long"):
        return DeferringOperator(**common)
    if task_id == "deferred_a_while":
        return DeferringOperator(seconds=8, **common)
    if task_id == "too_slow":
        return PythonOperator(python_callable=take_too_long, execution_timeout=timedelta(seconds=2), **common)
    if task_id == "stuck":
        common["executor"] = "tests.storms.record_stuck.StuckExecutor"
    retries: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=1)} if task_id in RETRYING else {}
    return PythonOperator(python_callable=CALLS.get(task_id, noop), **retries, **common)


def workflow(edges: dict[str, list[str]], mapped_over: dict[str, str] | None = None, **settings: Any) -> None:
    """
    Fill the DAG of the context.

    :param mapped_over: task → the task over whose list it is expanded.
    :param settings: of all its tasks.
    """
    start = StartBatchOperator(task_id="start_batch", edges=edges)
    tasks = {task_id: make_task(task_id, settings) for task_id in edges if task_id not in (mapped_over or {})}
    for task_id, source in (mapped_over or {}).items():
        common = {"task_id": task_id, "trigger_rule": "none_failed", "pre_execute": ScopeGuard(), **settings}
        tasks[task_id] = PythonOperator.partial(python_callable=noop, **common).expand(op_args=tasks[source].output)
    for parent, children in edges.items():
        for child in children:
            tasks[parent] >> tasks[child]
    for task_id in set(edges) - {child for children in edges.values() for child in children}:
        start >> tasks[task_id]


COMMON: dict[str, Any] = {
    "start_date": datetime(2026, 1, 1),
    "schedule": None,
    "params": {"start_task_id": None, "scope": None, "fail": False},
    "default_args": {"retries": 0},
    "max_active_runs": 100,
}

with DAG("record_ends", **COMMON):
    workflow(
        {
            **{"empty": ["after_empty"], "after_empty": []},
            **{"fails": ["blocked"], "blocked": ["blocked_too"], "blocked_too": []},
            **{"skips_itself": ["behind_skip"], "behind_skip": []},
            **{"branch": ["chosen", "not_chosen"], "chosen": [], "not_chosen": []},
            **{"stops_here": ["cut_off"], "cut_off": []},
            **{"no_list": ["of_nothing"], "of_nothing": []},
            **{name: [] for name in ("says_seven", "says_much", "says_a_secret", "too_slow", "waits_too_long")},
            **{name: [] for name in ("second_time", "mapped", "killed", "killed_once", "lost", "goes_away")},
            **{name: [] for name in ("deferred_a_while", "looks_again")},
        },
        mapped_over={"of_nothing": "no_list"},
    )

with DAG("record_waits", **COMMON):
    # `beside` is a leaf that fails. Without one, a run that a person marks failed has skipped leaves only, and a scheduler that
    # looks at it between the two commits of the API makes it a success.
    workflow({"waits": ["after"], "after": [], "fails": [], "skips_itself": []})

with DAG("record_defers", **COMMON):
    workflow({"defers": ["after"], "after": [], "fails": []})

# Its stored form becomes unreadable when its run has ended.
with DAG("record_torn", **COMMON):
    workflow({"fails": ["after"], "after": []})

with DAG("record_hurried", dagrun_timeout=timedelta(seconds=40), **COMMON):
    workflow({"waits": ["after"], "after": []})

with DAG("record_short", **COMMON):
    workflow({"first": ["fails_if_told"], "fails_if_told": []})

with DAG("record_lists", **COMMON):
    workflow({"lists": ["each"], "each": []}, mapped_over={"each": "lists"})

with DAG("record_fail_fast", fail_fast=True, **COMMON):
    workflow({"fails_beside": [], "waits": ["after"], "after": []}, trigger_rule="all_success")

with DAG("record_stuck", **COMMON):
    workflow({"stuck": []})

# Far in the past and far in the future nothing is due: it runs when somebody asks for past years alone.
with DAG("record_years", **{**COMMON, "start_date": datetime(1990, 1, 1), "schedule": "@yearly", "catchup": False}):
    workflow({"first": []})
