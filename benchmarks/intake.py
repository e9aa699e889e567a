"""From a message to a running task, beside the Google provider: messages one at a time, and 1,000 at once."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

import yaml

from benchmarks.result import AtMost, Result
from demo.postgres import PostgresServer
from demo.world import TOPIC, World
from provider.emulators.scenario import Scenario

ARRIVALS = 20
GAP_SECONDS = (1.0, 4.0)
SEED = 20240316
BURST = 1000
BURSTS = 5
PEER_BURST_SECONDS = 60.0
ARRIVAL_SECONDS = 60.0
QUIET_SECONDS = 120.0

P50_RATIO = AtMost(0.5)
BURST_SECONDS = AtMost(30)
#: Where the triggerer starts the runs itself.
DIRECT_P50_RATIO = AtMost(0.15)
DIRECT_P50_SECONDS = AtMost(0.3)
DIRECT_BURST_SECONDS = AtMost(25)

ENVIRONMENT = {
    # Airflow's own default: a finished task often keeps its slot for another 5 s, and of four slots none would be left.
    "AIRFLOW__CORE__PARALLELISM": "32",
    # As Airflow's documentation has it, roughly the number of cores.
    "AIRFLOW__API__WORKERS": "2",
}

#: How long a contender has been waiting when its message comes. Within about 6 s of a worker's deferral Airflow can lose the
#: task (apache/airflow#71580), and with it the peer's message; that is a defect of its own, and no latency.
SETTLED_SECONDS = 7.0

WORKSPACE = "11111111-1111-4111-8111-111111111111"
PEER_DAG = Path(__file__).parent / "peers" / "pubsub_dag.py"
BURST_WORKFLOW, BURST_TASK = "intake_burst", "burst_task"


@dataclass(frozen=True)
class Contender:
    """
    A way from a message to a run.

    :param topic: where its messages go.
    :param dispatcher: the DAG that waits for them.
    :param workflow_id: the DAG that they start; the factory makes the same one for each contender.
    """

    name: str
    topic: str
    dispatcher: str
    workflow_id: str

    @property
    def task_id(self) -> str:
        """The only task of the workflow, but for ``start_batch``."""
        return f"{self.workflow_id}_task"


OURS = Contender("ours", TOPIC, "accelerator_dispatcher", "intake_ours")
PEER = Contender("google", "projects/demo-project/topics/peer-batches", "google_dispatcher", "intake_google")
CONTENDERS = (OURS, PEER)

#: Of a message that arrived alone: its run, the first task of the run, and the first of what the workflow is there for.
_MOMENTS = """
SELECT run.run_id, run.created_at AS dag_run_created, start.start_date AS first_task_running,
    task.start_date AS workflow_task_running
FROM dag_run run
JOIN task_instance start ON start.dag_id = run.dag_id AND start.run_id = run.run_id AND start.task_id = 'start_batch'
JOIN task_instance task ON task.dag_id = run.dag_id AND task.run_id = run.run_id AND task.task_id = :task_id
WHERE run.dag_id = :dag_id AND task.start_date IS NOT NULL
"""
MOMENTS = ("dag_run_created", "first_task_running", "workflow_task_running")

#: The task instance of the dispatcher that made a run is the one that ran when the run was created.
_STEPS = """
SELECT run.run_id, run.created_at, waiting.run_id AS waited_in, waiting.scheduled_dttm AS resumed,
    waiting.queued_dttm AS dispatch_queued,
    (SELECT max(log.dttm) FROM log WHERE log.dag_id = waiting.dag_id AND log.run_id = waiting.run_id AND log.event = 'running')
    AS dispatch_running,
    start.scheduled_dttm AS start_scheduled, start.queued_dttm AS start_queued, start.start_date AS start_running,
    start.end_date AS start_ended,
    task.scheduled_dttm AS task_scheduled, task.queued_dttm AS task_queued, task.start_date AS task_running
FROM dag_run run
JOIN task_instance waiting
    ON waiting.dag_id = :dispatcher AND waiting.queued_dttm <= run.created_at AND waiting.end_date >= run.created_at
JOIN task_instance start ON start.dag_id = run.dag_id AND start.run_id = run.run_id AND start.task_id = 'start_batch'
JOIN task_instance task ON task.dag_id = run.dag_id AND task.run_id = run.run_id AND task.task_id = :task_id
WHERE run.dag_id = :dag_id
"""
#: What ends each step on the way from the publication to the workflow's own task, in order.
STEPS = (
    "pulled",
    "committed",
    "acknowledged_and_fired",
    "resumed_by_triggerer",
    "queued_by_scheduler",
    "started_by_executor",
    "dag_file_read",
    "dag_run_created",
    "start_batch_scheduled",
    "start_batch_queued",
    "start_batch_started",
    "start_batch_ended",
    "workflow_task_scheduled",
    "workflow_task_queued",
    "workflow_task_started",
)

#: Every contender waits in the triggerer, the one whose turn it is long enough, and nothing else goes on.
_ARMED = """
SELECT count(DISTINCT dag_id) FROM task_instance JOIN trigger ON trigger.id = task_instance.trigger_id
WHERE state = 'deferred' AND trigger.triggerer_id IS NOT NULL AND (dag_id <> :dispatcher OR trigger.created_date < :before)
    AND dag_id LIKE '%dispatcher'
"""
_BUSY = """
SELECT (SELECT count(*) FROM task_instance WHERE state IN ('scheduled', 'queued', 'running', 'restarting', 'up_for_retry'))
    + (SELECT count(*) FROM dag_run JOIN dag ON dag.dag_id = dag_run.dag_id
    WHERE dag_run.state IN ('queued', 'running') AND NOT dag.is_paused AND dag_run.dag_id NOT LIKE '%dispatcher'
    AND dag_run.dag_id <> 'accelerator_reconciler')
"""


def scenario() -> Scenario:
    """Return what the emulators know: a topic for each contender, and a semantic model whose refreshes end at once."""
    topics = [
        {"name": topic.rpartition("/")[2], "subscriptions": [{"name": f"{topic.rpartition('/')[2]}-airflow"}]}
        for topic in (contender.topic for contender in CONTENDERS)
    ]
    models = [{"name": "Intake", "seconds": 0}]
    return Scenario.model_validate(
        {
            "powerbi": {"workspaces": [{"id": WORKSPACE, "name": "Intake", "semantic_models": models}]},
            "pubsub": {"project": "demo-project", "topics": topics},
        }
    )


def definitions() -> dict[str, Any]:
    """Return the workflows: one small task each."""
    config = {"workspace": WORKSPACE, "semantic_model": "Intake"}
    pairs = [(contender.workflow_id, contender.task_id) for contender in CONTENDERS] + [(BURST_WORKFLOW, BURST_TASK)]
    return {
        "workflows": [
            {
                "workflow_id": workflow_id,
                "max_active_batches": 10_000,
                "tasks": [{"task_id": task_id, "task_type": "power_bi_refresh", "config": config}],
            }
            for workflow_id, task_id in pairs
        ]
    }


class Publisher:
    """Context manager around Google's publisher with an open channel, as a service has one that publishes all day."""

    def __init__(self, address: str) -> None:
        import grpc
        from google.pubsub_v1 import PublisherClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

        self._channel = grpc.insecure_channel(address)
        self._client = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._channel.close()

    def publish(self, topic: str, messages: Sequence[Mapping[str, Any]]) -> datetime:
        """Publish messages with one request; returns when it was answered."""
        from google.pubsub_v1 import PubsubMessage

        self._client.publish(topic=topic, messages=[PubsubMessage(data=json.dumps(message).encode()) for message in messages])
        return datetime.now(UTC)


class Intake:
    """
    Publishes, and reads in the databases when what happened.

    :param world: a real Airflow with both contenders.
    """

    def __init__(self, world: World, publisher: Publisher) -> None:
        from sqlalchemy import create_engine

        self._world = world
        self._publisher = publisher
        self._airflow = create_engine(world.airflow_url)
        self.published: dict[str, datetime] = {}

    def close(self) -> None:
        """Close the connections to Airflow's database."""
        self._airflow.dispose()

    def wait_until_quiet(self, contender: Contender) -> None:
        """
        Wait until all contenders wait for a message and nothing else goes on.

        :param contender: gets the next message.
        :raises AssertionError: Airflow does not come to rest.
        """

        def quiet() -> bool:
            before = datetime.now(UTC) - timedelta(seconds=SETTLED_SECONDS)
            armed = self._count(_ARMED, dispatcher=contender.dispatcher, before=before)
            return armed == len(CONTENDERS) and self._count(_BUSY) == 0

        self._world.airflow.wait_for(quiet, QUIET_SECONDS, "a quiet Airflow")

    def arrive(self, contender: Contender, batch_id: str) -> None:
        """Publish one message, and wait until the workflow's task runs or the message counts as lost."""
        message = {"task_id": contender.task_id, "batch_id": batch_id, "scope": "workflow"}
        self.published[batch_id] = self._publisher.publish(contender.topic, [message])
        running = "SELECT count(*) FROM task_instance WHERE run_id = :run_id AND task_id = :task_id AND start_date IS NOT NULL"
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while not self._count(running, run_id=batch_id, task_id=contender.task_id) and time.monotonic() < deadline:
            time.sleep(0.2)

    def moments(self, contender: Contender) -> dict[str, list[float]]:
        """Return moment → seconds since the publication of each message."""
        rows = self._rows(_MOMENTS, dag_id=contender.workflow_id, task_id=contender.task_id)
        rows = [row for row in rows if row["run_id"] in self.published]
        return {moment: [self._seconds(row["run_id"], row[moment]) for row in rows] for moment in MOMENTS}

    def steps(self) -> dict[str, list[float]]:
        """Return step → its milliseconds for each message that went our way."""
        (requests,) = self._world.rows("batch_requests")
        received = {row["batch_id"]: row["received_at"] for row in requests}
        steps: dict[str, list[float]] = {name: [] for name in STEPS}
        for row in self._rows(_STEPS, dag_id=OURS.workflow_id, task_id=OURS.task_id, dispatcher=OURS.dispatcher):
            if row["run_id"] not in self.published:
                continue
            trigger, task = self._logs(row["waited_in"])
            times = [
                *(self.published[row["run_id"]], received[row["run_id"]], trigger["Stored"], trigger["Trigger"]),
                *(row["resumed"], row["dispatch_queued"], row["dispatch_running"], task["::endgroup::"], row["created_at"]),
                *(row["start_scheduled"], row["start_queued"], row["start_running"], row["start_ended"]),
                *(row["task_scheduled"], row["task_queued"], row["task_running"]),
            ]
            for name, (begun, ended) in zip(STEPS, itertools.pairwise(times), strict=True):
                steps[name].append((ended - begun).total_seconds() * 1000)
        return steps

    def burst(self, topic: str, workflow_id: str, task_id: str, *, seconds: float) -> tuple[int, float]:
        """
        Publish many messages at once for a workflow that is paused, so that its tasks take no time from what is measured.

        Its runs stay open, so a burst finds those of the bursts before it in the way, as it would on a bad day.

        :param seconds: how long to wait for the runs.
        :return: how many runs there are then, and the seconds from the publication to the last of them, or all that were
            given where some are missing.
        """
        self._world.airflow.rest("PATCH", f"/dags/{workflow_id}", json={"is_paused": True})
        begun = datetime.now(UTC)
        name = f"burst_{begun:%H%M%S}"
        messages = [{"task_id": task_id, "batch_id": f"{name}_{number:04d}", "scope": "workflow"} for number in range(BURST)]
        self._publisher.publish(topic, messages)
        deadline = time.monotonic() + seconds
        runs = "SELECT count(*) AS count, max(created_at) AS last FROM dag_run WHERE dag_id = :dag_id AND run_id LIKE :pattern"
        while True:
            (row,) = self._rows(runs, dag_id=workflow_id, pattern=f"{name}_%")
            if row["count"] == BURST:
                return BURST, (row["last"] - begun).total_seconds()
            if time.monotonic() > deadline:
                return row["count"], seconds
            time.sleep(0.5)

    def _logs(self, run_id: str) -> list[dict[str, datetime]]:
        """Return, for the trigger and the task of a dispatcher's run, first word of an entry → time of the first such entry."""
        folder = self._world.home / "logs" / f"dag_id={OURS.dispatcher}" / f"run_id={run_id}"
        found = []
        for pattern in ("*/*.trigger.*.log", "*/attempt=1.log"):
            (log,) = folder.glob(pattern)
            entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            found.append(
                # "trigger … starting" is another word than "Trigger fired event".
                {item["event"].partition(" ")[0]: datetime.fromisoformat(item["timestamp"]) for item in reversed(entries)}
            )
        return found

    def _seconds(self, batch_id: str, moment: datetime) -> float:
        return (moment - self.published[batch_id]).total_seconds()

    def _count(self, statement: str, **values: Any) -> int:
        (row,) = self._rows(statement, **values)
        return int(next(iter(row.values())))

    def _rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        from sqlalchemy import text

        with self._airflow.connect() as connection:
            return [dict(row) for row in connection.execute(text(statement), values).mappings()]


def run(folder: Path) -> Iterator[Result]:
    """Yield the figures of the intake with a task that starts the runs."""
    with _started(folder / "intake") as intake:
        yield from _arrivals(intake, "intake", P50_RATIO)
        for name, samples in intake.steps().items():
            yield Result(f"intake.ours.step.{name}", "ms", samples)
        yield from _bursts(intake, "intake", BURST_SECONDS)
        intake.wait_until_quiet(PEER)
        runs, _ = intake.burst(PEER.topic, PEER.workflow_id, PEER.task_id, seconds=PEER_BURST_SECONDS)
        yield Result(f"intake.google.burst_{BURST}.runs_in_{PEER_BURST_SECONDS:.0f}_s", "runs", [runs])


def run_direct(folder: Path) -> Iterator[Result]:
    """Yield the figures where the triggerer starts the runs; first of all a burst in an Airflow that has just come up."""
    with _started(folder / "intake_direct", api=True) as intake:
        runs, seconds = intake.burst(OURS.topic, BURST_WORKFLOW, BURST_TASK, seconds=4 * DIRECT_BURST_SECONDS.limit)
        yield Result(f"intake_direct.ours.cold_burst_{BURST}.runs", "runs", [runs])
        yield Result(f"intake_direct.ours.cold_burst_{BURST}.seconds", "s", [seconds], DIRECT_BURST_SECONDS)
        yield from _arrivals(intake, "intake_direct", DIRECT_P50_RATIO, DIRECT_P50_SECONDS)
        yield from _bursts(intake, "intake_direct", DIRECT_BURST_SECONDS)


@contextmanager
def _started(folder: Path, *, api: bool = False) -> Iterator[Intake]:
    """Start an Airflow with both contenders; ours starts runs by Airflow's REST API, or by a task."""
    folder.mkdir()
    file = folder / "workflows.yaml"
    file.write_text(yaml.safe_dump(definitions()), encoding="utf-8")
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer())
        settings: dict[str, Any] = {"environment": ENVIRONMENT, "pubsub": "builtin", "api": api}
        world = stack.enter_context(World(folder, definitions=file, scenario=scenario(), postgres=postgres, **settings))
        shutil.copy(PEER_DAG, world.dags)
        world.wait_for_dags(
            [*(item.dispatcher for item in CONTENDERS), *(item.workflow_id for item in CONTENDERS), BURST_WORKFLOW]
        )
        publisher = stack.enter_context(Publisher(world.emulators.pubsub_host))
        intake = Intake(world, publisher)
        stack.callback(intake.close)
        yield intake


def _arrivals(intake: Intake, name: str, ratio_goal: AtMost, goal: AtMost | None = None) -> Iterator[Result]:
    """
    Let messages arrive in turns, each alone in a quiet Airflow at a random moment of its loops.

    :param name: first part of the figures' names.
    :param ratio_goal: of the moments before the workflow's own task.
    :param goal: of our median until the run is there.
    """
    chance = random.Random(SEED)  # noqa: S311 - spreads moments, protects nothing
    for number in range(-1, ARRIVALS):
        for contender in CONTENDERS:
            intake.wait_until_quiet(contender)
            time.sleep(chance.uniform(*GAP_SECONDS))
            intake.arrive(contender, f"{contender.name}_{number}")
            if number < 0:  # each contender's first message pays for imports in the triggerer
                del intake.published[f"{contender.name}_{number}"]
    seen = {contender: intake.moments(contender) for contender in CONTENDERS}
    for contender in CONTENDERS:
        lost = ARRIVALS - len(seen[contender][MOMENTS[-1]])
        yield Result(f"{name}.{contender.name}.lost", f"of {ARRIVALS} messages", [lost], AtMost(0) if contender is OURS else None)
    for moment in MOMENTS:
        for contender in CONTENDERS:
            samples = seen[contender][moment]
            ours = contender is OURS and moment == MOMENTS[0]
            yield Result(f"{name}.{contender.name}.{moment}.p50", "s", samples, goal if ours else None)
            yield Result(f"{name}.{contender.name}.{moment}.p95", "s", samples, statistic="p95")
        ratio = median(seen[OURS][moment]) / median(seen[PEER][moment])
        held = moment == MOMENTS[0] or (goal is None and moment != MOMENTS[-1])
        yield Result(f"{name}.{moment}.p50_ratio", "ours / google", [ratio], ratio_goal if held else None)


def _bursts(intake: Intake, name: str, goal: AtMost) -> Iterator[Result]:
    ours = []
    for _ in range(BURSTS):
        intake.wait_until_quiet(OURS)
        ours.append(intake.burst(OURS.topic, BURST_WORKFLOW, BURST_TASK, seconds=4 * goal.limit))
    yield Result(f"{name}.ours.burst_{BURST}.runs", "runs", [runs for runs, _ in ours], statistic="minimum")
    yield Result(f"{name}.ours.burst_{BURST}.seconds", "s", [seconds for _, seconds in ours], goal)
