"""
Random Pub/Sub messages through the reader, the inbox and the dispatcher, whose Airflow answers at random, too.

Nothing is raised, each message ends in a known state, with a reason wherever it starts nothing, and what reaches Airflow is one
run of one workflow of ours.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import OKResponse, TriggerDagRun
from google.pubsub_v1.types import ReceivedMessage
from sqlalchemy import delete, update

from demo.postgres import PostgresServer
from provider.metadata import engine, schema
from provider.metadata.engine import write_session
from provider.metadata.tables import BatchRequest
from provider.operators.dispatch import DispatchBatchRequestsOperator
from provider.triggers.pubsub import commit_to_inbox, look_into_inbox
from tests.provider.hostile_messages import HALF, LIMITS, PLANTED, received
from tests.provider.metadata.inbox_world import SUBSCRIPTION, rows, store_definitions
from tests.provider.operators.supervisor import ALREADY_EXISTS, WireSupervisor, refusal, run_of
from tests.storms.fuzz_answers import RandomAnswers
from tests.storms.outcome import Findings, Outcome, quiet

#: Messages of one pull.
PULL = 25

WORKFLOWS = ("daily_sales", "small", "stock", "files_a", "files_b", "files_off")
TASKS = ("stg_orders", "stg_customers", "dq_check", "refresh", "stg_small", "stg_stock", "load_a", "nobody")
BATCHES = ("B1", "B2", "B3", "a+b:c~d.e_f-g", "x" * 200)
STATES = frozenset({"received", "dispatched", "recorded", "duplicate", "rejected"})
#: States that need no reason: what was to happen has happened.
DONE = ("dispatched", "recorded")
ADDRESS = re.compile(r"/execution/dag-runs/[a-z_]+/[A-Za-z0-9_.~:+-]{1,200}")
OBJECTS = ("sales/orders.csv", "sales/2024/orders.csv", "orders.json", "sales/", "stock/{{ 7 * 7 }}.csv")


class RandomMessages:
    """
    Makes messages, all of them fixed by a seed.

    :param random: where chance comes from.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._answers = RandomAnswers(random)
        self._count = 0

    def pull(self) -> list[ReceivedMessage]:
        return [self._message() for _ in range(PULL)]

    def _message(self) -> ReceivedMessage:
        chance = self._random
        data, attributes = chance.choice((self._start, self._start, self._completion, self._file, self._event))()
        self._count += chance.random() > 0.05  # else it comes again, under the same id
        for _ in range(chance.choice((0, 0, 0, 1, 3))):
            attributes[self._attribute(chance.choice([*attributes, "x", "eventType", "bucketId", "ce-type", "ce-id"]))] = (
                self._attribute(chance.choice((*PLANTED, *LIMITS)))
            )
        return received(f"m{self._count}", data, attributes, None)

    def _start(self) -> tuple[bytes, dict[str, str]]:
        chance = self._random
        good = {"task_id": chance.choice(TASKS), "batch_id": chance.choice(BATCHES), "params": {"day": chance.choice(PLANTED)}}
        if chance.random() < 0.5:
            good["scope"] = chance.choice(("downstream", "task", "workflow"))
        if chance.random() < 0.3:
            del good["batch_id"]
        return self._body(good), {}

    def _completion(self) -> tuple[bytes, dict[str, str]]:
        chance = self._random
        good = {"previous_task_id": chance.choice(TASKS), "batch_id": chance.choice(BATCHES), "status": "SUCCESS"}
        if chance.random() < 0.5:
            good |= {"status": "ERROR", "error": chance.choice(PLANTED)}
        return self._body(good), {}

    def _file(self) -> tuple[bytes, dict[str, str]]:
        name = self._random.choice(OBJECTS)
        attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "landing", "objectId": name, "objectGeneration": "1"}
        return self._body({"size": "10", "name": name}), attributes

    def _event(self) -> tuple[bytes, dict[str, str]]:
        told = {"bucket": "landing", "name": self._random.choice(OBJECTS), "generation": "1", "size": "10"}
        kind = "google.cloud.storage.object.v1.finalized"
        if self._random.random() < 0.5:
            event = {"ce-specversion": "1.0", "ce-type": kind, "ce-source": "//storage", "ce-id": "1"}
            return self._body(told), {**event, "content-type": "application/json"}
        return self._body({"specversion": "1.0", "type": kind, "source": "//storage", "id": "1", "data": told}), {}

    def _body(self, good: dict[str, Any]) -> bytes:
        return json.dumps(good).encode() if self._random.random() < 0.4 else self._answers.body(good)

    def _attribute(self, text: str) -> str:
        return HALF.sub("?", text)


class RandomAirflow(WireSupervisor):
    """The supervisor of the dispatcher's task, whose Airflow does not always do what it is asked for."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        #: How many starts it has not answered since somebody set this to 0: two of different workflows are an outage.
        self.unanswered = 0

    def send(self, message: Any) -> Any:
        if not isinstance(message, TriggerDagRun):
            found = self.runs.get(message.run_id) if hasattr(message, "run_id") else None
            return found if found is not None else OKResponse(ok=True)
        answer = super().send(message)
        kind = self._random.random()
        if kind < 0.7:
            return answer
        if kind < 0.8:
            own = self._random.random() < 0.5
            ids = type("Ids", (), {"workflow_id": message.dag_id, "batch_id": message.run_id})
            self.runs[message.run_id] = run_of(ids(), message.conf if own else {"x": 1})
            return ALREADY_EXISTS
        status = self._random.choice((None, 400, 401, 403, 404, 409, 422, 500, 502, 503))
        self.unanswered += status is None or status >= 500
        raise refusal(
            status, self._random.choice((None, "value_error", "not_found")), self._random.choice(("no\nmore\x00", "💥"))
        )


class Judge(Findings):
    """Looks at what became of messages, and keeps what must not."""

    def stored(self, taken: list[ReceivedMessage], *, outage: bool) -> None:
        """
        Each message has its row, in a state that is known, and that says why.

        :param outage: the dispatcher gave up, so that its next look is what the rest waits for.
        """
        known = {row.message_id for row in rows()}
        for item in taken:
            if item.message.message_id not in known:
                self.wrong("not stored", repr(item.message.data[:300]))
        for row in rows():
            place = f"{row.kind} {row.state}: {row.reason!r} of {row.payload[:200]!r}"
            if row.state not in STATES:
                self.wrong("unknown state", place)
            untried = outage and row.state == "received" and row.attempts == 0
            if row.state not in DONE and not row.reason and not untried:
                self.wrong("no reason", place)
            if row.reason and not row.reason.isprintable():
                self.wrong("reason that cannot be shown", place)

    def asked(self, airflow: RandomAirflow) -> None:
        for request in airflow.requests:
            target = request.url.raw_path.decode()
            if request.method != "POST" or not ADDRESS.fullmatch(target) or target.split("/")[3] not in WORKFLOWS:
                self.wrong("asked of Airflow", f"{request.method} {target}")
            json.loads(request.content)


@contextmanager
def _world(url: str, airflow: RandomAirflow) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {"AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": url}))
        stack.enter_context(mock.patch.object(task_runner, "SUPERVISOR_COMMS", airflow, create=True))
        stack.enter_context(quiet())
        fresh = engine.create_engine(url)
        schema.upgrade(fresh)
        fresh.dispose()
        stack.callback(engine.dispose_engines)
        store_definitions()
        yield


def fuzz(messages: int, random: Random, url: str, judge: Judge) -> None:
    """
    Take random messages, so many at least, into one application database, and dispatch them.

    :param url: of the application database, empty.
    """
    maker, airflow = RandomMessages(random), RandomAirflow(random)
    operator = DispatchBatchRequestsOperator(task_id="dispatch", subscriptions=[SUBSCRIPTION])
    with _world(url, airflow):
        for _ in range(-(-messages // PULL)):
            taken = maker.pull()
            airflow.requests.clear()
            airflow.unanswered = 0
            try:
                commit_to_inbox(SUBSCRIPTION, taken)
                operator.execute_complete({})
                look_into_inbox()
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                data = [(item.message.data[:200], dict(item.message.attributes)) for item in taken]
                judge.wrong(f"raised {type(error).__name__}", f"{error} of {data}")
            judge.counts["messages"] += len(taken)
            judge.stored(taken, outage=airflow.unanswered > 1)
            judge.asked(airflow)
            if random.random() < 0.3:
                _forget(judge)
            else:
                _hurry()
        _forget(judge)


def _forget(judge: Judge) -> None:
    """Count what there is, and begin with an empty inbox."""
    judge.counts.update(f"{row.kind} {row.state}" for row in rows())
    with write_session() as session:
        session.execute(delete(BatchRequest))


def _hurry() -> None:
    """Let what waits be due again."""
    with write_session() as session:
        session.execute(update(BatchRequest).values(next_attempt_at=None, claimed_until=None))


def run(messages: int, seed: int, folder: Path) -> Outcome:
    """Take so many random messages, one half in each kind of database."""
    judge = Judge()
    with PostgresServer() as server:
        for number, url in enumerate((f"sqlite:///{folder}/messages.db", server.create_database("messages"))):
            fuzz(messages // 2, Random(seed + number), url, judge)
    return judge.outcome(seed)
