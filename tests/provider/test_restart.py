"""What running a batch again would do, worked out from its rows."""

from __future__ import annotations

from typing import Any, cast

import pytest
from airflow.sdk.log import mask_secret

from provider.exceptions import AcceleratorError
from provider.metadata.rows import StoredTaskBatch, StoredTaskLog
from provider.restart import NothingToRestartError, RestartPlan, TaskAgain, plan_rerun, plan_restart
from tests.provider.pages.rows import batch, log

AIRFLOW = {"SUCCESS": "success", "ERROR": "failed", "BLOCKED": "upstream_failed", "SKIPPED": "skipped"}


def tried(task_id: str, status: str, **values: Any) -> StoredTaskLog:
    return cast("StoredTaskLog", log(task_id, "B1", status=status, airflow_state=AIRFLOW.get(status, "running"), **values))


def planned(*tries: StoredTaskLog, **options: Any) -> RestartPlan:
    return plan_restart(cast("StoredTaskBatch", batch("B1", status="ERROR")), tries, **options)


def test_the_failed_and_the_blocked_run_and_the_succeeded_stay() -> None:
    plan = planned(
        tried("start_batch", "SUCCESS"),
        tried("load", "SUCCESS", remote_job_id="job-1"),
        tried("transform", "ERROR", error_message="Table raw.x\nwas not found", remote_job_id="job-2"),
        tried("refresh", "BLOCKED", error_message="blocked by transform"),
        tried("out", "SKIPPED", error_message="out of scope of this batch"),
        tried("batch_watcher", "BLOCKED"),
    )
    assert plan.runs == (
        TaskAgain("transform", -1, "ERROR", "Table raw.x"),
        TaskAgain("refresh", -1, "BLOCKED", "blocked by transform"),
    )
    assert plan.keeps == 1
    assert plan.repeats == ("transform starts its remote job anew; the last one was job-2.",)
    assert plan.body == {
        "dry_run": False,
        "dag_run_id": "B1",
        "task_ids": ["batch_watcher", "transform", "refresh"],
        "only_failed": False,
        "reset_dag_runs": True,
        "prevent_running_task": True,
    }


def test_a_secret_is_masked_before_its_text_is_cut() -> None:
    mask_secret("1b9-canary-of-a-restart")
    (one,) = planned(tried("load", "ERROR", error_message=f"{'x' * 285}-1b9-canary-of-a-restart was refused")).runs
    assert one.why == f"{'x' * 285}-*** was refus…"


def test_the_last_try_counts() -> None:
    plan = planned(
        tried("a", "ERROR", try_number=1),
        tried("a", "SUCCESS", try_number=2),
        tried("b", "ERROR", try_number=1, error_message="first"),
        tried("b", "ERROR", try_number=2, error_message="second"),
    )
    assert plan.runs == (TaskAgain("b", -1, "ERROR", "second"),)


def test_a_try_that_airflow_will_retry_is_left_to_it() -> None:
    waiting = tried("a", "ERROR") | {"airflow_state": "up_for_retry"}
    plan = planned(waiting, tried("b", "ERROR"))
    assert [one.task_id for one in plan.runs] == ["b"]
    with pytest.raises(NothingToRestartError):
        planned(waiting)


def test_of_a_mapped_task_the_instances_that_failed_run() -> None:
    plan = planned(
        tried("each", "BLOCKED", map_index=-1),
        tried("each", "SUCCESS", map_index=0),
        tried("each", "ERROR", map_index=1),
        tried("never_expanded", "BLOCKED", map_index=-1),
    )
    assert plan.body["task_ids"] == [["each", 1], "never_expanded"]
    assert [(one.task_id, one.map_index) for one in plan.runs] == [("each", 1), ("never_expanded", -1)]


def test_where_start_batch_has_failed_it_runs_too() -> None:
    plan = planned(tried("start_batch", "ERROR"), tried("a", "BLOCKED"), tried("batch_watcher", "BLOCKED"))
    assert plan.body["task_ids"] == ["start_batch", "batch_watcher", "a"]


@pytest.mark.parametrize("tries", [[], [tried("a", "SUCCESS")], [tried("a", "SKIPPED"), tried("b", "PROCESSING")]])
def test_nothing_to_run(tries: list[StoredTaskLog]) -> None:
    with pytest.raises(NothingToRestartError, match="no task of batch B1 of daily_sales has failed or is blocked"):
        planned(*tries)


def test_of_a_deleted_run_nothing_can_run_again() -> None:
    deleted = cast("StoredTaskBatch", batch("B1", status="ERROR", end_cause="deleted"))
    with pytest.raises(NothingToRestartError, match="the DAG run of batch B1 of daily_sales was deleted; start a new batch"):
        plan_restart(deleted, [tried("a", "ERROR")])


FORK = [
    tried("a", "ERROR"),
    tried("behind_a", "BLOCKED"),
    tried("behind_both", "BLOCKED"),
    tried("b", "ERROR"),
    tried("behind_b", "BLOCKED"),
    tried("batch_watcher", "BLOCKED"),
]
EDGES = [("a", "behind_a"), ("behind_a", "behind_both"), ("b", "behind_b"), ("behind_b", "behind_both")]


def test_of_chosen_tasks_what_is_blocked_behind_them_runs_too() -> None:
    plan = planned(*FORK, edges=EDGES, tasks=["a"])
    assert plan.body["task_ids"] == ["batch_watcher", "a", "behind_a", "behind_both"]
    plan = planned(*FORK, edges=[*EDGES, ("a", "b")], tasks=["a"])
    assert "b" not in plan.body["task_ids"], "it has failed by itself, and nobody chose it"


def test_behind_a_task_that_did_not_run_nothing_is_blocked_by_the_chosen_one() -> None:
    edges = [("a", "off"), ("off", "behind_b"), ("b", "behind_b")]
    tries = [
        tried("a", "ERROR"),
        tried("off", "SKIPPED", error_message="the task is disabled"),
        tried("b", "ERROR"),
        tried("behind_b", "BLOCKED", error_message="blocked by b"),
    ]
    assert [one.task_id for one in planned(*tries, edges=edges, tasks=["a"]).runs] == ["a"]
    assert [one.task_id for one in planned(*tries, edges=edges, tasks=["b"]).runs] == ["b", "behind_b"]


def test_a_task_that_did_not_fail_is_not_chosen() -> None:
    with pytest.raises(
        AcceleratorError, match=r"neither failed nor are they blocked: done, nobody\. Those that have or are: a, b"
    ):
        planned(tried("done", "SUCCESS"), *FORK, edges=EDGES, tasks=["a", "nobody", "done"])


class TestFrom:
    CHAIN = (
        tried("a", "SUCCESS", remote_job_id="job-a"),
        tried("b", "SUCCESS", remote_job_id="job-b"),
        tried("c", "SKIPPED", end_cause="upstream"),
        tried("out", "SKIPPED", end_cause="scope"),
        tried("other", "ERROR"),
        tried("batch_watcher", "SUCCESS"),
    )
    EDGES = (("a", "b"), ("b", "c"), ("c", "batch_watcher"), ("b", "out"))

    def rerun(self, *tasks: str, tries: Any = CHAIN, after: dict[str, list[str]] | None = None) -> RestartPlan:
        return plan_rerun(cast("StoredTaskBatch", batch("B1", status="SUCCESS")), tries, self.EDGES, tasks, after or {})

    def test_what_has_succeeded_runs_again_with_all_behind_it(self) -> None:
        plan = self.rerun("b")
        assert [(one.task_id, one.status) for one in plan.runs] == [("b", "SUCCESS"), ("c", "SKIPPED")]
        assert (plan.keeps, plan.repeats) == (1, ("b starts its remote job anew; the last one was job-b.",))
        assert (plan.body["task_ids"], plan.body["include_downstream"], plan.body["only_failed"]) == (["b"], True, False)

    def test_workflows_that_follow_are_named_the_nearest_first(self) -> None:
        after = {"z": ["daily_sales"], "a": ["z", "x://y"], "b": ["a", "daily_sales"], "else": ["somebody"]}
        names = [text.partition(" ")[0] for text in self.rerun("a", after=after).follows]
        assert names == ["b", "z", "a"]
        failed = planned(tried("a", "ERROR"), predecessors=after)
        assert failed.follows == self.rerun("a", after=after).follows
        assert failed.follows[2] == "a starts a new batch once all that it comes after has succeeded anew: z, x://y."

    def test_of_what_was_not_in_the_batch_nothing_runs(self) -> None:
        says = r"batch B1 of daily_sales has not run nobody, out\. Its tasks are: a, b, c, other\."
        with pytest.raises(AcceleratorError, match=says):
            self.rerun("out", "nobody", "a")

    def test_what_runs_is_let_come_to_its_end(self) -> None:
        with pytest.raises(AcceleratorError, match=r"c of batch B1 still runs; wait for its end, or cancel the batch\."):
            self.rerun("b", tries=(*self.CHAIN, tried("c", "PROCESSING", try_number=2)))
