"""
A storm over the intake of a real Airflow on PostgreSQL: ``make chaos-intake``.

Thousands of messages, with duplicates, bad ones, completions and files among them, go through trigger, inbox and dispatcher
while triggerer, dispatcher and worker are killed and the application database goes away twice. What must have come of them is
fixed beforehand (:mod:`tests.storms.intake_plan`) and compared with the publisher's own file at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import yaml
from google.pubsub_v1 import PublisherClient, PubsubMessage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from demo.postgres import PostgresServer
from demo.world import TOPIC, World
from tests.storms.command import add_seed_and_folder, home
from tests.storms.intake_plan import (
    FILE_PATTERNS,
    LATER_ROUNDS,
    LIVE_WORKFLOW,
    MASS_WORKFLOWS,
    Message,
    Plan,
    definitions,
    make_plan,
)
from tests.storms.intake_strikes import BEFORE_ACKNOWLEDGE, BEFORE_MARK, DirectStrikes, Strikes
from tests.storms.intake_verdict import PublishersFile, Verdict
from tests.storms.intake_world import DISPATCHER, HELPERS, Databases
from tests.storms.outcome import Outcome
from tests.waiting import wait_for

ENVIRONMENT = {
    "AIRFLOW__ACCELERATOR__RECONCILE_INTERVAL": "10",
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
}
_MESSAGES_A_CALL = 100
_ROUND_SECONDS = 600.0
"""Whatever is killed: a round that is not in the inbox by then is lost."""


class Publisher:
    """Publishes rounds with Google's own client, and writes down what the service has taken."""

    def __init__(self, address: str, plan: Plan, file: PublishersFile) -> None:
        self._channel = grpc.insecure_channel(address)
        self._client = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self._plan = plan
        self._file = file
        self.message_ids: list[list[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._channel.close()

    def publish_next(self) -> None:
        """Publish the next round."""
        messages = self._plan.rounds[len(self.message_ids)]
        ids: list[str] = []
        for start in range(0, len(messages), _MESSAGES_A_CALL):
            ids += self._publish(messages[start : start + _MESSAGES_A_CALL])
        self.message_ids.append(ids)

    def _publish(self, messages: Sequence[Message]) -> Sequence[str]:
        contents = [PubsubMessage(data=one.draft.data, attributes=dict(one.draft.attributes)) for one in messages]
        ids: Sequence[str] = self._client.publish(topic=TOPIC, messages=contents).message_ids
        self._file.append(messages, ids)
        return ids


def run_storm(
    folder: Path,
    plan: Plan,
    postgres: PostgresServer,
    *,
    timeout: float,
    impatient: bool = False,
    direct: bool = False,
) -> Outcome:
    """
    Make a storm and compare.

    :param folder: gets the Airflow home and the publisher's file ``published.jsonl``.
    :param postgres: server of Airflow's database; the application database gets one of its own, which goes away.
    :param timeout: seconds until what has not ended counts as wrong.
    :param impatient: let the claims of a killed dispatcher run out at once.
    :param direct: let the triggerer start the runs itself.
    """
    file = folder / "workflows.yaml"
    file.write_text(yaml.safe_dump(definitions()))
    began = time.monotonic()
    with (
        PostgresServer() as own,
        World(
            folder,
            definitions=file,
            scenario=plan.scenario(),
            postgres=postgres,
            application_postgres=own,
            environment=ENVIRONMENT,
            api=direct,
        ) as world,
    ):
        paused = (*MASS_WORKFLOWS, *FILE_PATTERNS)
        world.wait_for_dags((*paused, LIVE_WORKFLOW, DISPATCHER, HELPERS))
        for workflow in paused:
            world.airflow.rest("PATCH", f"/dags/{workflow}", json={"is_paused": True})
        databases = Databases(world, direct=direct)
        strikes = (DirectStrikes if direct else Strikes)(world, databases, own, plan, impatient=impatient)
        published = PublishersFile(folder / "published.jsonl")
        intake_began = time.monotonic()
        with Publisher(world.emulators.pubsub_host, plan, published) as publisher:
            ended = _publish(plan, publisher, databases, strikes, began + timeout)
            ended = ended and _wait_for_end(plan, databases, strikes, began + timeout)
        seconds = time.monotonic() - intake_began
        (requests,) = world.rows("batch_requests")
        verdict = Verdict(published.read(), plan.stories, requests, databases.runs(), strikes.deliveries.left())
        wrong = [] if ended else [f"not everything had ended after {timeout:.0f} s"]
        wrong += verdict.wrong()
        wrong += _unproven(plan, strikes, requests)
        figures = _figures(plan, strikes, verdict, requests, seconds) | {"helpers called": databases.helpers_called()}
        databases.close()
    return Outcome(figures, wrong)


def _publish(plan: Plan, publisher: Publisher, databases: Databases, strikes: Strikes, deadline: float) -> bool:
    """Publish round after round, each when the one before the last is in the inbox; return whether that came in time."""
    for turn, step in enumerate(plan.steps):
        if turn >= LATER_ROUNDS:
            before = set(publisher.message_ids[turn - LATER_ROUNDS])
            patience = min(_ROUND_SECONDS, deadline - time.monotonic())
            if not wait_for(partial(_are_stored, databases, before), patience, 0.1):
                return False
        if step is None:
            publisher.publish_next()
        else:
            strikes.make(step, publisher.publish_next)
    return True


def _are_stored(databases: Databases, message_ids: set[str]) -> bool:
    return databases.stored(message_ids) == message_ids


def _wait_for_end(plan: Plan, databases: Databases, strikes: Strikes, deadline: float) -> bool:
    """Wait until everything is acknowledged and nothing waits, and the runs that are to end have ended."""

    def ended() -> bool:
        if strikes.deliveries.left() or databases.waiting():
            return False
        states = Counter(run["state"] for run in databases.runs() if run["dag_id"] == LIVE_WORKFLOW)
        return states["success"] + states["failed"] >= plan.live_runs

    return wait_for(ended, deadline - time.monotonic(), 0.5)


def _unproven(plan: Plan, strikes: Strikes, requests: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is missing in the proof that the kills were where they should be, and did no harm there."""
    wrong = [
        f"only {strikes.caught(gap)} kills came {gap}"
        for gap in (BEFORE_ACKNOWLEDGE, BEFORE_MARK)
        if strikes.caught(gap) < min(3, sum(step == f"kill: {gap}" for step in plan.steps))
    ]
    if strikes.counts()["database away"] < 2:
        wrong.append(f"the database went away {strikes.counts()['database away']} times")
    by_id = {str(row["id"]): row for row in requests}
    # Before the commit, at an outage, the triggerer lives: what it has in its hand may be stored when the database is back.
    for strike in strikes.made:
        if strike.gap == BEFORE_MARK:
            rows = [by_id[one] for one in strike.caught]
            wrong += [f"{strike}, but it is {row['state']}" for row in rows if row["state"] != "dispatched"]
            wrong += [f"{strike}, but it was marked before" for row in rows if not _after(row["dispatched_at"], strike.at)]
        elif strike.gap == BEFORE_ACKNOWLEDGE:
            once = [one for one in strike.caught if strikes.deliveries.attempts[one] < 2]
            wrong += [f"{strike}, but message {one} was delivered only once" for one in once]
    return wrong


def _after(moment: Any, other: Any) -> bool:
    return moment is not None and bool(moment > other)


def _figures(
    plan: Plan, strikes: Strikes, verdict: Verdict, requests: Sequence[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    deliveries = strikes.deliveries
    sums = verdict.sums()
    ended = [name for name in sums if name != "published"]
    return {
        "seed": plan.seed,
        "messages by kind": dict(Counter({row["message_id"]: row["kind"] for row in requests}.values())),
        "the sum": f"published {sums['published']} = {' + '.join(f'{name} {sums[name]}' for name in ended)}",
        "runs intended": len(verdict.intended),
        "missing, extra, twice": (len(verdict.missing), len(verdict.extra), len(verdict.twice)),
        "started by completions and files": sum(row["state"] == "dispatched" and row["kind"] != "start" for row in requests),
        "runs that came to their end": plan.live_runs,
        "deliveries, of these again": (deliveries.attempts.total(), deliveries.attempts.total() - len(deliveries.attempts)),
        "acknowledgements refused": deliveries.refused_acknowledgements,
        "SIGKILLs and outages": dict(sorted(strikes.counts().items())),
        f"kills {BEFORE_ACKNOWLEDGE}": strikes.caught(BEFORE_ACKNOWLEDGE),
        f"kills {BEFORE_MARK}": strikes.caught(BEFORE_MARK),
        "not acknowledged at the end": len(deliveries.left()),
        "seconds of the intake": round(seconds),
    }


def main(arguments: list[str] | None = None) -> int:
    """Make a storm of a size and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--run", type=int, default=200, help="runs that come to their end")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--strikes", type=int, default=4, help="directed kills in each gap")
    parser.add_argument("--kills", type=int, default=12, help="kills at any moment")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds")
    parser.add_argument("--direct", action="store_true", help="the triggerer starts the runs itself, by Airflow's REST API")
    add_seed_and_folder(parser, "the Airflow home and the publisher's file")
    options = parser.parse_args(arguments)
    plan = make_plan(
        options.seed,
        options.messages,
        live=options.run,
        turns=options.rounds,
        strikes=options.strikes,
        random_kills=options.kills,
    )
    print(f"Storm {plan.seed}: {options.messages} messages in {options.rounds} rounds …", flush=True)
    with home(options.folder, "intake-") as folder, PostgresServer() as postgres:
        return run_storm(folder, plan, postgres, timeout=options.timeout, direct=options.direct).tell()


if __name__ == "__main__":
    sys.exit(main())
