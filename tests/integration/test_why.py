"""
`accelerator why` in a real Airflow: each cause is brought about, and the first line has to name it.

Airflow is asked both ways, by its database and by its REST API as somebody who may only look. The tests stand in an order: what
waits side by side comes first, what takes a part of Airflow away comes last.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from demo.postgres import PostgresServer
from demo.world import World
from provider.emulators.scenario import Scenario
from provider.metadata import engine
from tests.integration.why_world import (
    AT,
    SCENARIO,
    WORKERS,
    WORKFLOWS,
    Asker,
    batch,
    dispatcher_states,
    external,
    log,
    pause,
    request,
    running,
    state,
    stop,
    store_broken_rows,
    wait,
    write_workflows,
)

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def application_postgres() -> Iterator[PostgresServer]:
    """The server of the application database, which can go away alone."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, application_postgres: PostgresServer
) -> Iterator[World]:
    # On SQLite, beside so many tasks, some of what people ask of Airflow ends in "database is locked".
    folder = tmp_path_factory.mktemp("why")
    file = write_workflows(folder / "workflows.yaml", WORKFLOWS)
    scenario, environment = Scenario.model_validate(SCENARIO), {"AIRFLOW__CORE__PARALLELISM": str(WORKERS)}
    people = {"ann": "ADMIN", "looker": "VIEWER"}
    with World(
        folder,
        definitions=file,
        scenario=scenario,
        postgres=postgres_server,
        application_postgres=application_postgres,
        environment=environment,
        people=people,
    ) as world:
        world.wait_for_dags([*WORKFLOWS, "accelerator_dispatcher"])
        yield world
    assert world.airflow.own_processes() == []
    engine.dispose_engines()


@pytest.fixture(scope="module")
def why(world: World) -> Iterator[Asker]:
    asker = Asker(world)
    with ExitStack() as stack:
        stack.callback(asker.close)
        yield asker
    width = max((len(cause) for cause, _, _ in asker.table), default=0)
    sys.stdout.write("\n".join(["", *(f"{cause:{width}}  {way:8}  {line}" for cause, way, line in asker.table), ""]))


@pytest.fixture(scope="module")
def waiting(world: World) -> dict[str, str]:
    """Everything that waits side by side, under way; what each message was given as its id."""
    world.airflow.rest("POST", "/pools", json={"name": "narrow", "slots": 1, "include_deferred": True})
    world.airflow.trigger("flow", "F1", {"start_task_id": "first"})
    world.airflow.trigger("paused", "P1")
    messages = {
        "rejected": {"task_id": "unknown", "batch_id": "M1"},
        "first": {"task_id": "begin", "batch_id": "M2"},
    }
    ids = {name: world.publish(message)[0] for name, message in messages.items()}
    # What comes second: in the pool, of its workflow, and of its batch.
    wait(world, "first", lambda: state(world, "flow", "F1", "first") in ("queued", "running", "deferred"))
    world.airflow.trigger("waits", "W1")
    wait(world, "W1", lambda: world.airflow.run_state("waits", "W1") == "running")
    world.airflow.trigger("waits", "W2")
    wait(world, "M2", lambda: request(world, ids["first"]).get("state") == "dispatched")
    ids["duplicate"] = world.publish(messages["first"])[0]
    wait(world, "the duplicate", lambda: request(world, ids["duplicate"]).get("state") == "duplicate")
    # Paused while its trigger waits, it goes on to take messages in.
    wait(world, "the dispatcher to wait", lambda: dispatcher_states(world) == ["deferred"])
    pause(world, "accelerator_dispatcher")
    ids["waits"] = world.publish({"task_id": "begin", "batch_id": "M4"})[0]
    wait(world, "M4", lambda: request(world, ids["waits"]))
    return ids


@pytest.mark.usefixtures("waiting")
class TestSideBySide:
    """What keeps a batch or a task while all of Airflow runs."""

    def test_its_remote_job_runs(self, world: World, why: Asker) -> None:
        wait(world, "first", lambda: state(world, "flow", "F1", "first") == "deferred" and log(world, "F1", "first"))
        row = wait(world, "its job", lambda: (found := log(world, "F1", "first")).get("remote_job") and found)
        url = re.escape(row["remote_job_url"])
        line = (
            rf"first waits for remote job {row['remote_job_id']} of powerbi since {AT}; on record .* as of {AT}\. Look at {url}"
        )
        for names in (("first", "F1"), ("F1",)):
            why.check("remote job still running", names, line)

    def test_its_parent_has_not_finished(self, world: World, why: Asker) -> None:
        wait(world, "first", lambda: state(world, "flow", "F1", "first") == "deferred")
        why.check("parent not finished", ("second", "F1"), r"second waits for first \(deferred\)\. Ask for the first of them\.")

    @pytest.mark.parametrize(("task_id", "reason"), [("side", "out of scope of this batch"), ("off", "the task is disabled")])
    def test_it_is_left_out(self, world: World, why: Asker, task_id: str, reason: str) -> None:
        wait(world, task_id, lambda: log(world, "F1", task_id).get("error_message") == reason)
        wait(world, task_id, lambda: state(world, "flow", "F1", task_id) == "skipped")
        why.check(reason, (task_id, "F1"), rf"{task_id} does not run in this batch: {reason}\.")

    def test_its_pool_is_full(self, world: World, why: Asker) -> None:
        wait(world, "waiter", lambda: state(world, "waits", "W1", "waiter") == "scheduled")
        line = r"Pool narrow is full, 1 of 1 slots are taken: flow first in F1\. Wait for one of them, or .*"
        why.check("pool full", ("waiter", "W1"), line)

    def test_its_pool_is_not_there(self, world: World, why: Asker) -> None:
        wait(world, "poolless", lambda: state(world, "waits", "W1", "poolless") == "scheduled")
        why.check("no such pool", ("poolless", "W1"), r"There is no pool missing\. Create the pool in Airflow, .*")

    def test_its_workflow_is_paused(self, world: World, why: Asker) -> None:
        wait(world, "P1", lambda: batch(world, "P1"))
        why.check("workflow paused", ("P1",), r"DAG paused is paused\. `accelerator resume paused`, or its switch in Airflow\.")

    def test_as_many_batches_run_as_may(self, world: World, why: Asker) -> None:
        wait(world, "W2", lambda: batch(world, "W2"))
        line = r"The run is queued while others run: W1\. Wait for one of them, or raise max_active_batches .*"
        why.check("limit of active batches", ("W2",), line)

    def test_it_waits_for_a_message(self, world: World, why: Asker) -> None:
        wait(world, "outside", lambda: state(world, "waits", "W1", "outside") == "deferred")
        line = r"outside waits for a message that tells its end: task_id outside, batch_id W1, status SUCCESS or ERROR\. .*"
        why.check("external task", ("outside", "W1"), line)

    def test_it_waits_for_its_next_try(self, world: World, why: Asker) -> None:
        wait(world, "fails", lambda: state(world, "waits", "W1", "fails") == "up_for_retry")
        wait(world, "its error", lambda: log(world, "W1", "fails").get("error_message"))
        line = rf"fails has failed and waits for its next try, due at {AT}: .*refresh .*"
        why.check("waiting for retry", ("fails", "W1"), line)

    def test_it_waits_for_its_next_try_and_pauses_grow(self, world: World, why: Asker) -> None:
        wait(world, "fails_more", lambda: state(world, "waits", "W1", "fails_more") == "up_for_retry")
        wait(world, "its error", lambda: log(world, "W1", "fails_more").get("error_message"))
        due = rf"fails_more has failed and waits for its next try, due at {AT}"
        why.check(
            "waiting for retry, growing",
            ("fails_more", "W1"),
            f"{due}: .*",
            f"{due} at the earliest, as its pauses grow: .*",
        )


class TestMessages:
    """What keeps a message from starting a batch."""

    def test_it_is_rejected(self, waiting: dict[str, str], why: Asker) -> None:
        why.check("request rejected", (waiting["rejected"],), r"The message was rejected: .*unknown.*")

    def test_it_is_a_duplicate(self, waiting: dict[str, str], why: Asker) -> None:
        why.check("request duplicate", (waiting["duplicate"],), r"Another message had started batch M2 before: .*")

    def test_the_dispatcher_is_paused(self, world: World, waiting: dict[str, str], why: Asker) -> None:
        line = (
            rf"No dispatcher has taken it since {AT}: accelerator_dispatcher is paused\. Unpause the DAG accelerator_dispatcher\."
        )
        why.check("request waiting", (waiting["waits"],), line)
        pause(world, "accelerator_dispatcher", paused=False)
        wait(world, "M4", lambda: request(world, waiting["waits"])["state"] == "dispatched")

    def test_its_workflow_is_broken(self, world: World, why: Asker) -> None:
        store_broken_rows(world)
        (broken,) = world.publish({"task_id": "crooked", "batch_id": "M3"})
        wait(world, "M3", lambda: request(world, broken).get("reason"))
        line = r"Airflow has no DAG broken, as its definition is broken: tasks row crooked: .*did you mean power_bi_refresh\?.*"
        why.check("definition broken", (broken,), line)


@pytest.mark.usefixtures("waiting")
class TestCrowd:
    """What keeps a task where the executor is full, or its workers do not work."""

    def test_as_many_of_its_batch_run_as_may(self, world: World, why: Asker) -> None:
        world.airflow.trigger("limited", "X1")

        def held() -> str | None:
            states = {one["task_id"]: one["state"] for one in world.airflow.task_instances("limited", "X1")}
            return next((name for name in states if "running" in states.values() and states[name] == "scheduled"), None)

        try:
            second = wait(world, "one of two", held)
            line = rf"{second} waits as max_active_tasks is 1, and so many are queued or run: limited limited_\d in X1\. Wait .*"
            why.check("limit of active tasks", (second, "X1"), line)
        finally:
            world.airflow.rest("PATCH", "/dags/limited/dagRuns/X1", json={"state": "failed"})
        wait(world, "the processes of limited to end", lambda: not running(world))

    def test_the_executor_is_full(self, world: World, why: Asker) -> None:
        world.airflow.trigger("crowd", "C1")

        def left() -> str | None:
            states = {one["task_id"]: one["state"] for one in world.airflow.task_instances("crowd", "C1")}
            full = sum(state == "running" for state in states.values()) == WORKERS
            return next((name for name in states if full and states[name] == "queued"), None)

        try:
            last = wait(world, "a full executor", left)
            crowd = rf"while {WORKERS} run: crowd crowd_\d in C1(, crowd crowd_\d in C1){{{WORKERS - 1}}}"
            why.check(
                "executor full", (last, "C1"), rf"{last} is queued since {AT} and no worker has taken it \(.*\), {crowd}\. .*"
            )
        finally:
            world.airflow.rest("PATCH", "/dags/crowd/dagRuns/C1", json={"state": "failed"})
        wait(world, "the processes of crowd to end", lambda: not running(world))

    def test_no_worker_takes_it(self, world: World, why: Asker) -> None:
        workers = world.airflow.titled("airflow worker -- LocalExecutor")
        assert workers
        for worker in workers:
            worker.suspend()
        try:
            world.airflow.trigger("flow", "F2")
            wait(world, "F2", lambda: state(world, "flow", "F2", "start_batch") == "queued" and batch(world, "F2"))
            line = rf"start_batch is queued since {AT} and no worker has taken it \(.*, queue default\)(, while .*)?\. See .*"
            why.check("queued, no worker", ("F2",), line)
        finally:
            for worker in workers:
                worker.resume()


@pytest.mark.usefixtures("waiting")
class TestApplicationDatabaseWasAway:
    """What keeps a batch that has begun without the application database."""

    def test_start_batch_waits_for_it(self, world: World, why: Asker, application_postgres: PostgresServer) -> None:
        application_postgres.stop()
        try:
            world.airflow.trigger("by_message", "D1")
            wait(world, "D1", lambda: state(world, "by_message", "D1", "start_batch") == "up_for_reschedule")
        finally:
            application_postgres.start()
        wait(world, "its row", lambda: batch(world, "D1"))
        waits, setting = "start_batch waits for the application database", r"\(\[accelerator\] outage_wait_hours\)"
        why.check(
            "application database away",
            ("start_batch", "D1"),
            rf"{waits} since {AT}, until {AT} at most {setting}; the next look is at {AT}\. .*",
            rf"{waits}, for \S+ at most {setting}\. .*",
        )


@pytest.mark.usefixtures("waiting")
class TestPartsOfAirflowAreGone:
    """One after the other; none comes back."""

    def test_the_file_of_the_dag_cannot_be_imported(self, world: World, why: Asker) -> None:
        file = world.dags / "workflows.py"
        whole = file.read_text()
        file.write_text(f"{whole}\nimport is_missing\n")

        def is_stale() -> bool:
            world.airflow.read_again()  # stale is what has not been found in its file for a while of reading
            return bool(world.airflow.rest("GET", "/dags/flow")["is_stale"])

        wait(world, "stale DAGs", is_stale)
        line = r"DAG flow is gone: workflows.py cannot be imported, ModuleNotFoundError: No module named 'is_missing'\. .*"
        try:
            why.check("DAG file broken", ("F1",), line)
        finally:
            file.write_text(whole)
            world.airflow.read_again()
        world.wait_for_dags(["flow", "by_message"])

    def test_no_dag_processor_lives(self, world: World, why: Asker) -> None:
        stop(world, "dag-processor")
        late = write_workflows(world.home.parent / "late.yaml", {"late": {"tasks": [external("too_late")]}})
        world.accelerator("import", str(late))
        (message_id,) = world.publish({"task_id": "too_late", "batch_id": "L1"})
        wait(world, "L1", lambda: request(world, message_id))
        line = rf"Airflow has no DAG late, and no dag-processor is alive, last heartbeat {AT}\. Start `airflow dag-processor`\."
        why.check("no dag-processor", (message_id,), line)

    def test_no_triggerer_lives(self, world: World, why: Asker, waiting: dict[str, str]) -> None:
        stop(world, "triggerer")
        line = rf"outside is deferred and no triggerer is alive, last heartbeat {AT}\. Start `airflow triggerer`\."
        why.check("no triggerer", ("outside", "W1"), line)

    def test_no_scheduler_lives(self, world: World, why: Asker) -> None:
        stop(world, "scheduler")
        for names in (("F1",), ("waiter", "W1"), ("fails", "W1")):
            why.check("no scheduler", names, rf"No scheduler is alive, last heartbeat {AT}\. Start `airflow scheduler`\.")
