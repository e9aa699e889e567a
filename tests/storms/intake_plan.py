"""What a storm over the intake intends: who publishes what, in which round, and what must come of it; fixed by its seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from provider.emulators.rules import Rule
from provider.emulators.scenario import Scenario
from provider.metadata.states import DISPATCHED
from tests.storms.intake_messages import Author, BatchKey, Draft, Tale

Step = Literal[
    "kill: commit → acknowledge",
    "kill: start → mark",
    "database away: pull → commit",
    "database away: start → mark",
    "kill: triggerer",
    "kill: dispatcher",
    "kill: worker",
]
"""What happens in a round. The first two kill in a gap for certain, the last three at any moment."""

MASS_WORKFLOWS = ("sales", "stock", "returns", "prices")
FILE_PATTERNS: Mapping[str, str] = {"files_sales": "gs://landing/sales/*.csv", "files_csv": "gs://landing/**/*.csv"}
LIVE_WORKFLOW = "live"
LIVE_TASK = "live_check"
LATER_ROUNDS = 2
"""A message that follows another one is published so many rounds after it, when the other one is in the inbox."""


@dataclass(frozen=True)
class Message:
    """
    One message of the publisher.

    :param story: number of the story it belongs to, and ``place`` its place in it.
    :param turn: the round in which it is published.
    """

    story: int
    place: int
    turn: int
    draft: Draft


@dataclass(frozen=True)
class Story:
    """
    Messages about one batch, and how they may end.

    :param allowed: the states of its messages, by place; more than one such line where the order of delivery decides.
    :param ends: state in which its runs end; None for runs of workflows that are paused.
    """

    number: int
    messages: tuple[Message, ...]
    allowed: tuple[tuple[str, ...], ...]
    ends: str | None


@dataclass(frozen=True)
class Plan:
    """
    A storm.

    :param rounds: the messages of each round, in the order of publishing.
    :param steps: what happens in each round; None for nothing.
    """

    seed: int
    stories: tuple[Story, ...]
    rounds: tuple[tuple[Message, ...], ...]
    steps: tuple[Step | None, ...]

    @property
    def live_runs(self) -> int:
        """How many runs are to come to their end."""
        return sum(story.ends is not None for story in self.stories)

    def startable(self) -> set[BatchKey]:
        """Return the batches that must get a run, as far as their ids are known before their messages are published."""
        return {
            key
            for story in self.stories
            for message in story.messages
            if any(states[message.place] == DISPATCHED for states in story.allowed)
            for key in message.draft.asks_for
        }

    def scenario(self) -> Scenario:
        """Return what the emulators know: the subscription, and the service's own faults."""
        faults: tuple[dict[str, Any], ...] = (
            {"match": "Pull", "probability": 0.04, "fault": "status", "grpc_status": "UNAVAILABLE"},
            # Delivered, but the answer is lost: these messages come again after their deadline.
            {"match": "Pull", "probability": 0.04, "fault": "drop", "when": "after"},
            {"match": "Acknowledge", "probability": 0.05, "fault": "status", "grpc_status": "UNAVAILABLE"},
        )
        rules = [
            Rule.model_validate({"service": "pubsub", "times": None, "seed": self.seed * 10 + number, **fault})
            for number, fault in enumerate(faults)
        ]
        return Scenario.model_validate(
            {
                "pubsub": {"topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}]},
                "rules": [rule.model_dump() for rule in rules],
            }
        )


def definitions() -> dict[str, Any]:
    """Return the workflows, as ``accelerator import`` takes them."""
    dataform = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "storm", "git_commitish": "main"}

    def workflow(workflow_id: str, *tasks: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {"workflow_id": workflow_id, "max_active_batches": 10_000, "tasks": list(tasks), **options}

    params = [
        {"name": "region", "type": "string", "enum": ["eu", "us"], "default": "eu"},
        {"name": "limit", "type": "integer", "minimum": 0, "default": 0},
    ]
    workflows = [
        workflow(
            name,
            {"task_id": f"{name}_stage", "task_type": "dataform", "config": dataform},
            {"task_id": f"{name}_check", "task_type": "external"},
            {
                "task_id": f"{name}_report",
                "task_type": "dataform",
                "config": dataform,
                "depends_on": [f"{name}_stage", f"{name}_check"],
            },
            params=params,
        )
        for name in MASS_WORKFLOWS
    ]
    workflows += [
        workflow(name, {"task_id": f"load_{name}", "task_type": "dataform", "config": dataform}, file_pattern=pattern)
        for name, pattern in FILE_PATTERNS.items()
    ]
    off = {"task_id": "load_off", "task_type": "dataform", "config": dataform}
    workflows.append(workflow("files_off", off, file_pattern="gs://landing/**", enabled=False))
    workflows.append(workflow(LIVE_WORKFLOW, {"task_id": LIVE_TASK, "task_type": "external"}))
    return {"workflows": workflows}


def make_plan(seed: int, count: int, *, live: int, turns: int, strikes: int, random_kills: int) -> Plan:
    """
    Return the plan of a seed.

    :param count: how many messages.
    :param live: how many runs come to their end; those of all other batches stay queued, as their workflows are paused.
    :param turns: rounds of publishing.
    :param strikes: kills in each of the two gaps.
    :param random_kills: kills at any moment.
    """
    chance = random.Random(seed)
    author = Author(chance, MASS_WORKFLOWS, LIVE_TASK, LIVE_WORKFLOW)
    tales: list[Tale] = [author.live(number) for number in range(live)]
    missing = count - sum(len(tale.drafts) for tale in tales)
    while missing > 0:
        tale = author.tale(longest=missing)
        tales.append(tale)
        missing -= len(tale.drafts)
    stories = tuple(_story(number, tale, turns, chance) for number, tale in enumerate(tales))
    rounds: list[list[Message]] = [[] for _ in range(turns)]
    for story in stories:
        for message in story.messages:
            rounds[message.turn].append(message)
    for messages in rounds:
        chance.shuffle(messages)
    return Plan(seed, stories, tuple(map(tuple, rounds)), _steps(chance, turns, strikes, random_kills))


def _story(number: int, tale: Tale, turns: int, chance: random.Random) -> Story:
    has_later = any(draft.later for draft in tale.drafts)
    first = chance.randrange(turns - LATER_ROUNDS if has_later else turns)
    messages = tuple(
        Message(number, place, first + LATER_ROUNDS if draft.later else first, draft) for place, draft in enumerate(tale.drafts)
    )
    return Story(number, messages, tale.allowed, tale.ends)


def _steps(chance: random.Random, turns: int, strikes: int, random_kills: int) -> tuple[Step | None, ...]:
    """Spread what happens over the rounds; nothing happens in the first one."""
    steps: list[Step] = ["database away: pull → commit", "database away: start → mark"]
    steps += ["kill: commit → acknowledge", "kill: start → mark"] * strikes
    at_random: tuple[Step, ...] = ("kill: triggerer", "kill: dispatcher", "kill: worker")
    steps += [at_random[number % len(at_random)] for number in range(random_kills)]
    chance.shuffle(steps)
    if len(steps) > turns - 1:
        raise ValueError(f"{len(steps)} steps need {len(steps) + 1} rounds, not {turns}")
    when = sorted(chance.sample(range(1, turns), len(steps)))
    by_turn = dict(zip(when, steps, strict=True))
    return tuple(by_turn.get(turn) for turn in range(turns))
