"""Another workflow as a batch of its own: through the tries, losses and ends of the task that starts it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.exceptions import ConfigurationError, RunConfError
from provider.hooks.airflow_runs import MOST_RUNS, AirflowRunsHook
from provider.hooks.remote_job import RemoteCallError
from provider.hooks.remote_service import open_service
from provider.hooks.wait_budget import WaitBudget
from provider.operators.run_workflow import LONGEST_CHAIN, RunWorkflowOperator
from provider.run_conf import chain_of, checked_message_id
from tests.provider.hooks.airflow_api_server import Answer
from tests.provider.operators.airflow_world import Airflow
from tests.provider.operators.conftest import TaskLife
from tests.provider.operators.waits import FAST

FIRST, SECOND = "job.batch-1", "job.batch-1.2"


def task(chain: Any = None, **arguments: Any) -> TaskLife:
    life = TaskLife(lambda: RunWorkflowOperator(**{**FAST, "workflow_id": "reports", **arguments}))
    conf = {} if chain is None else {"_accelerator": {"workflow_id": "sales", "batch_id": "batch-1", "chain": chain}}
    life.context = {"dag_run": SimpleNamespace(conf=conf), "params": {"days": 3, "regions": ["de", "fr"]}}
    return life


def ended(life: TaskLife, deferral: Any) -> Any:
    return life.resume(deferral, life.event(deferral))


def test_it_starts_a_batch_and_waits_for_its_end(airflow: Airflow) -> None:
    life = task(conf={"day": "2026-03-16"})
    deferral = life.begin()

    assert isinstance(deferral, TaskDeferred)
    run = airflow.runs[FIRST]
    assert run["conf"] == {
        "day": "2026-03-16",
        "scope": "workflow",
        "_accelerator": {
            "workflow_id": "reports",
            "batch_id": FIRST,
            "started_by": ["sales", "batch-1", "job", -1],
            "chain": ["sales"],
        },
    }
    assert (run["logical_date"], run["note"]) == (None, "Started by job.batch-1, of the workflow sales.")
    assert life.ti.xcoms == {
        "remote_job_id": f"reports/{FIRST}",
        "remote_job_url": f"https://airflow.example.com/dags/reports/runs/{FIRST}",
    }
    airflow.end(FIRST)
    assert ended(life, deferral) == {"workflow_id": "reports", "batch_id": FIRST}


def test_a_start_in_the_middle(airflow: Airflow) -> None:
    task(start_task_ids=["stg", "dim"]).begin()
    task(start_task_ids=["stg"], scope="task").begin()

    assert {key: airflow.runs[FIRST]["conf"][key] for key in ("start_task_id", "scope")} == {
        "start_task_id": ["stg", "dim"],
        "scope": "downstream",
    }
    assert airflow.runs[SECOND]["conf"]["scope"] == "task"


def test_a_param_that_is_handed_on_keeps_its_type(airflow: Airflow) -> None:
    task(conf={"days": "{{ params.days }}", "in": "{{params.regions}}", "text": "{{ params.days }} days", "list": [1]}).begin()

    conf = airflow.runs[FIRST]["conf"]
    assert (conf["days"], conf["in"], conf["list"]) == (3, ["de", "fr"], [1])
    assert conf["text"] == "{{ params.days }} days"  # for Airflow to render


def test_a_retry_waits_for_the_batch_that_runs(airflow: Airflow) -> None:
    life = task()
    life.begin()
    deferral = life.begin()

    assert airflow.starts() == 1
    airflow.end(FIRST)
    assert ended(life, deferral)["batch_id"] == FIRST


@pytest.mark.parametrize("status", [500, 503])
def test_a_start_without_an_answer_is_found_and_not_repeated(airflow: Airflow, status: int) -> None:
    airflow.lost = [status]
    life = task()
    deferral = life.begin()

    assert (isinstance(deferral, TaskDeferred), airflow.starts(), list(airflow.runs)) == (True, 1, [FIRST])


@pytest.mark.parametrize("conf", [{}, {"_accelerator": {"workflow_id": "reports", "batch_id": FIRST, "chain": ["x"]}}])
def test_a_run_of_somebody_else_with_the_id_is_left_alone(airflow: Airflow, conf: dict[str, Any]) -> None:
    """It came between the look for a free id and the start."""
    life, asked = task(), airflow.server.answer

    def taken_meanwhile(path: str, query: Any) -> Answer:
        answer = asked(path, query)
        if airflow.server.asked[-1][0] == "GET" and not airflow.runs:
            airflow.runs[FIRST] = {"dag_run_id": FIRST, "state": "running", "conf": conf}
        return answer

    airflow.server.answer = taken_meanwhile
    deferral = life.begin()

    assert sorted(airflow.runs) == [FIRST, SECOND]
    life.end_by_a_person(life.trigger(deferral), "triggerer")
    assert {run_id: run["state"] for run_id, run in airflow.runs.items()} == {FIRST: "running", SECOND: "failed"}


def test_a_failed_batch_is_not_tried_again_and_says_where(airflow: Airflow) -> None:
    life = task()
    deferral = life.begin()
    airflow.failed_tasks = ["stg_orders", "stg_items"]
    airflow.end(FIRST, "failed")

    with pytest.raises(AirflowFailException, match=rf"batch {FIRST} of the workflow reports failed in stg_orders, stg_items;"):
        ended(life, deferral)


def test_a_clear_starts_another_batch_and_ends_the_one_that_runs(airflow: Airflow) -> None:
    life = task()
    life.begin()
    life.clear()
    life.begin()

    assert {run_id: run["state"] for run_id, run in airflow.runs.items()} == {FIRST: "failed", SECOND: "running"}


def test_a_person_who_ends_the_task_ends_the_batch(airflow: Airflow) -> None:
    life = task()
    life.end_by_a_person(life.trigger(life.begin()), "triggerer")

    assert airflow.runs[FIRST]["state"] == "failed"
    assert airflow.runs[FIRST]["note"].startswith("Started by")


def test_a_batch_that_has_ended_stays_what_it_is(airflow: Airflow) -> None:
    task().begin()
    airflow.end(FIRST)
    service = open_service("airflow", {"airflow_conn_id": "airflow_api"}, WaitBudget())
    assert isinstance(service, AirflowRunsHook)
    job = service.find({"workflow_id": "reports", "batch_id": FIRST, "started_by": ["sales", "batch-1", "job", -1]})
    assert job is not None
    service.cancel(job)

    assert airflow.runs[FIRST]["state"] == "success"


def test_a_batch_that_was_deleted_is_said_to_be_gone(airflow: Airflow) -> None:
    life = task()
    deferral = life.begin()
    airflow.runs.clear()

    with pytest.raises(Exception, match=f"no run {FIRST} of reports any more"):
        ended(life, deferral)


def test_a_404_of_a_proxy_is_not_taken_for_a_batch_that_is_gone(airflow: Airflow) -> None:
    task().begin()
    airflow.end(FIRST)
    service = open_service("airflow", {"airflow_conn_id": "airflow_api"}, WaitBudget())
    assert isinstance(service, AirflowRunsHook)
    intent = {"workflow_id": "reports", "batch_id": FIRST, "started_by": ["sales", "batch-1", "job", -1]}
    job = service.find(intent)
    assert job is not None

    airflow.server.answer = lambda _path, _query: (404, "default backend - 404")
    for ask in (partial(service.status, job), partial(service.find, intent), partial(service.cancel, job)):
        with pytest.raises(RemoteCallError, match="default backend - 404") as failed:
            ask()
        assert (failed.value.retryable, type(failed.value)) == (True, RemoteCallError)


def test_an_unknown_workflow_is_named(airflow: Airflow) -> None:
    with pytest.raises(Exception, match="DAG with dag_id: 'unknown' not found"):
        task(workflow_id="unknown").begin()
    assert airflow.runs == {}


@pytest.mark.parametrize(
    ("run_id", "begins"),
    [
        ("scheduled__2026-11-29T05:00:00+00:00", "job.scheduled__2026-11-29T05:00:00+00:00"),
        ("x" * 199, "by_task_"),
        ("..", "by_task_"),
    ],
)
def test_ids_of_all_kinds_of_batches(airflow: Airflow, run_id: str, begins: str) -> None:
    life = task()
    life.ti.run_id = run_id
    life.begin()
    life.clear()
    life.begin()

    first, second = airflow.runs
    assert first.startswith(begins)
    assert (len(first) <= 200, first != second) == (True, True)


def test_no_more_batches_than_can_be_meant(airflow: Airflow) -> None:
    airflow.runs = {FIRST if n == 1 else f"{FIRST}.{n}": {"state": "failed"} for n in range(1, MOST_RUNS + 1)}

    with pytest.raises(Exception, match="has started 100 batches of reports"):
        task().begin()
    assert airflow.starts() == 0


def test_workflows_that_start_one_another_for_ever(airflow: Airflow) -> None:
    with pytest.raises(Exception, match="start one another for ever: reports → loads → sales → reports; take one out"):
        task(["reports", "loads"]).begin()
    with pytest.raises(Exception, match="more than 20 workflows start one another"):
        task([f"w{number}" for number in range(LONGEST_CHAIN - 1)]).begin()
    assert airflow.starts() == 0


def test_the_chain_of_another_run_is_none(airflow: Airflow) -> None:
    """A conf that somebody copied: the run it was made for is another one."""
    life = task(["reports"])
    life.ti.run_id = "batch-2"
    life.begin()

    assert airflow.runs["job.batch-2"]["conf"]["_accelerator"]["chain"] == ["sales"]


def test_a_started_run_takes_its_conf_and_a_copy_does_not(airflow: Airflow) -> None:
    task().begin()
    conf = airflow.runs[FIRST]["conf"]

    assert checked_message_id(conf, "reports", FIRST) is None
    assert chain_of(conf, "reports", FIRST) == ("sales",)
    for other in (("reports", "by_hand"), ("loads", FIRST)):
        with pytest.raises(RunConfError, match="start the run again without it"):
            checked_message_id(conf, *other)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"conf": {"scope": "task"}}, "Task job: scope is no parameter of a workflow"),
        ({"scope": "task"}, "Task job: scope task needs start_task_ids"),
    ],
)
def test_what_cannot_be_meant(arguments: dict[str, Any], says: str) -> None:
    make: Callable[..., Any] = RunWorkflowOperator
    with pytest.raises(ConfigurationError, match=says):
        make(**{**FAST, "workflow_id": "reports", **arguments})


@pytest.mark.parametrize("name", ["..", "a/b", "a?b", ""])
@pytest.mark.parametrize("key", ["workflow_id", "batch_id"])
def test_a_ledger_that_names_another_address_is_refused(key: str, name: str) -> None:
    good = {"id": "reports/x", "url": "", "workflow_id": "reports", "batch_id": "x"}
    assert AirflowRunsHook.check_job(good) == good
    with pytest.raises(ConfigurationError, match=f"recorded batch of another workflow is not what this service records: {key}"):
        AirflowRunsHook.check_job({**good, key: name})
