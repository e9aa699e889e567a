"""The comparison of the intake's storm: it is content with what was intended, and sees every kind of mistake."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from provider import messages
from provider.dispatch.outcomes import conf_of_request
from provider.metadata import inbox, request_queue
from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.states import DISPATCHED, DUPLICATE, RECEIVED, REJECTED
from provider.metadata.tables import BatchRequest
from tests.storms.intake_plan import Plan, definitions, make_plan
from tests.storms.intake_verdict import Published, PublishersFile, Verdict

Rows = list[dict[str, Any]]


class World:
    """What an intake without mistakes makes of a plan; a test spoils it."""

    def __init__(self, plan: Plan, file: PublishersFile) -> None:
        self.plan = plan
        numbers = iter(range(1, 10_000))
        for round_ in plan.rounds:
            file.append(round_, [str(next(numbers)) for _ in round_])
        self.published = file.read()
        self.requests: Rows = []
        self.runs: Rows = []
        self.unacknowledged: set[str] = set()
        for message in self.published:
            self._take(message)

    def _take(self, message: Published) -> None:
        story = self.plan.stories[message.story]
        state = story.allowed[-1][message.place]
        for workflow, batch in message.asks_for or ((None, None),):
            row = {
                "id": len(self.requests) + 1,
                "message_id": message.message_id,
                "payload": message.data,
                "payload_sha256": hashlib.sha256(message.data).hexdigest(),
                "state": state,
                "reason": message.reasons[state] or None,
                "workflow_id": workflow,
                "batch_id": batch,
            }
            self.requests.append(row)
            if state == DISPATCHED:
                conf = dict(message.conf or {})
                made_for = {"request_id": row["id"], "message_id": message.message_id, "workflow_id": workflow, "batch_id": batch}
                conf["_accelerator"] = {**conf.get("_accelerator", {}), **made_for}
                self.runs.append({"dag_id": workflow, "run_id": batch, "conf": conf, "state": story.ends or "queued"})

    def verdict(self) -> Verdict:
        return Verdict(self.published, self.plan.stories, self.requests, self.runs, self.unacknowledged)

    def wrong(self) -> str:
        return "\n".join(self.verdict().wrong())

    def first(self, state: str) -> dict[str, Any]:
        return next(row for row in self.requests if row["state"] == state)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> World:
    plan = make_plan(5, 400, live=10, turns=12, strikes=2, random_kills=3)
    return World(plan, PublishersFile(tmp_path_factory.mktemp("publisher") / "published.jsonl"))


@pytest.fixture
def world(clean: World) -> World:
    return copy.deepcopy(clean)


def test_what_was_intended_is_right(world: World) -> None:
    verdict = world.verdict()
    assert list(verdict.wrong()) == []
    published, *ended = verdict.sums().values()
    assert (published, sum(ended)) == (400, 400)
    assert min(ended) > 0, "every kind of end is there"
    assert len(verdict.intended) == len(world.runs)


def lose_a_run(world: World) -> None:
    world.runs.pop()


def make_a_run(world: World) -> None:
    world.runs.append({**world.runs[0], "run_id": "nobody's"})


def make_a_run_twice(world: World) -> None:
    world.runs.append(world.runs[0])


def let_a_batch_through_twice(world: World) -> None:
    world.first(DUPLICATE)["state"] = DISPATCHED


def lose_a_message(world: World) -> None:
    world.requests.remove(world.first(REJECTED))


def leave_a_request(world: World) -> None:
    world.first(DISPATCHED)["state"] = RECEIVED


def leave_a_message(world: World) -> None:
    world.unacknowledged.add("1")


def forget_a_reason(world: World) -> None:
    world.first(REJECTED)["reason"] = None


def give_another_reason(world: World) -> None:
    world.first(REJECTED)["reason"] = "something else"


def reject_a_good_one(world: World) -> None:
    world.first(DISPATCHED)["state"] = REJECTED


def change_a_payload(world: World) -> None:
    world.requests[0]["payload"] = b"changed"


def take_another_hash(world: World) -> None:
    world.requests[0].update(payload=b"", payload_sha256=hashlib.sha256(b"changed").hexdigest())


def tell_a_run_something_else(world: World) -> None:
    world.runs[0]["conf"]["scope"] = "everything"


def start_by_a_stranger(world: World) -> None:
    world.runs[0]["conf"]["_accelerator"]["message_id"] = "77777"


def end_otherwise(world: World) -> None:
    next(run for run in world.runs if run["state"] == "failed")["state"] = "success"


def receive_from_a_stranger(world: World) -> None:
    world.requests.append({**world.requests[0], "message_id": "77777"})


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lose_a_run, "is missing"),
        (make_a_run, 'run "nobody\'s" of'),
        (make_a_run_twice, "is twice"),
        (let_a_batch_through_twice, "is twice"),
        (lose_a_message, "the sum is wrong"),
        (leave_a_request, "is received, reason ''; intended"),
        (leave_a_message, "message 1 was not acknowledged"),
        (forget_a_reason, "is rejected, reason ''"),
        (give_another_reason, "is rejected, reason 'something else'"),
        (reject_a_good_one, "ended as ('rejected'"),
        (change_a_payload, "is stored with another payload"),
        (take_another_hash, "is stored with another payload"),
        (tell_a_run_something_else, "was told"),
        (start_by_a_stranger, "was started by no message about it"),
        (end_otherwise, "is success, intended failed"),
        (receive_from_a_stranger, "which nobody has published"),
    ],
)
def test_every_mistake_is_seen(world: World, spoil: Callable[[World], None], line: str) -> None:
    spoil(world)
    assert line in world.wrong()


def test_a_plan_is_its_seeds(clean: World) -> None:
    again = make_plan(5, 400, live=10, turns=12, strikes=2, random_kills=3)
    assert again == clean.plan
    assert make_plan(6, 400, live=10, turns=12, strikes=2, random_kills=3) != again
    batches = [batch for story in again.stories for batch in {key for one in story.messages for key in one.draft.asks_for}]
    named = [batch for batch in batches if batch[1] is not None]
    assert len(named) == len(set(named)), "no two stories are about the same batch"
    assert sum(map(len, again.rounds)) == 400
    assert again.live_runs == 10


def test_the_inbox_makes_of_every_message_what_the_plan_says(world: World, embedded_database: str) -> None:
    """With a stand-in for Airflow: what is certain in the plan does not depend on the order of delivery."""
    chance = random.Random(1)
    by_place = {(message.story, message.place): message for message in world.published}
    store_definitions()
    for round_ in world.plan.rounds:
        delivered = [(by_place[one.story, one.place], one.draft.attributes) for one in round_]
        chance.shuffle(delivered)
        read = [messages.read(one.data, attributes, one.message_id, None) for one, attributes in delivered]
        with write_session() as session:
            inbox.receive(session, "projects/p/subscriptions/s", read)
    world.runs = start_everything(world)
    with read_session() as session:
        world.requests = [dict(row) for row in session.execute(select(BatchRequest.__table__)).mappings()]
    assert world.wrong() == ""


def store_definitions() -> None:
    rows = DefinitionRows()
    for workflow in definitions()["workflows"]:
        tasks = workflow.pop("tasks")
        rows.workflows.append(workflow)
        for task in tasks:
            rows.dependencies.extend({"parent_id": parent, "child_id": task["task_id"]} for parent in task.pop("depends_on", ()))
            rows.tasks.append({**task, "workflow_id": workflow["workflow_id"]})
    with write_session() as session:
        replace_workflows(session, rows)


def start_everything(world: World) -> Rows:
    """Start what waits as Airflow would: it refuses params that a workflow does not allow, and ends runs that are not paused."""
    published = {message.message_id: message for message in world.published}
    runs: Rows = []
    while True:
        with write_session() as session:
            claimed = request_queue.claim(session)
            for request in claimed:
                message = published[request.message_id]
                if message.conf is None:
                    request_queue.mark(session, [request.id], REJECTED, "Airflow refuses the run: of such params")
                    continue
                request_queue.mark(session, [request.id], DISPATCHED)
                state = world.plan.stories[message.story].ends or "queued"
                key = {"dag_id": request.workflow_id, "run_id": request.batch_id}
                runs.append({**key, "conf": conf_of_request(request), "state": state})
        if not claimed:
            return runs
