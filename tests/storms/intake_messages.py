"""The messages of a storm over the intake, in small tales of which it is certain how they end."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from provider.batch_ids import file_batch_id
from provider.metadata.states import DISPATCHED, DUPLICATE, RECORDED, REJECTED

BatchKey = tuple[str, str | None]
"""(workflow_id, batch_id); without a batch_id the batch is called after its message."""

START_REASONS: Mapping[str, str] = {
    DISPATCHED: "",
    DUPLICATE: "the same request was accepted before, as message ",
    REJECTED: "was accepted before with another task_id, scope or params, as message ",
}
BATCH_ID_REFUSED = "cannot be a run id"

LANDING = "landing"
_NEVER_STARTED = "There is no such batch, and nothing to start in it."
_RECORDED_ONLY = "recorded only: Airflow runs task "


@dataclass(frozen=True)
class Draft:
    """
    One message, before it is known when it is published.

    :param asks_for: the batches that it starts if it is what starts them.
    :param reasons: each state in which it may end → what the reason must hold; "" stands for no reason at all.
    :param conf: what the runs that it starts are told, without the ids in ``_accelerator``.
    :param later: published when the tale's other messages are in the inbox.
    """

    data: bytes
    reasons: Mapping[str, str]
    attributes: Mapping[str, str] = field(default_factory=dict)
    asks_for: tuple[BatchKey, ...] = ()
    conf: Mapping[str, Any] | None = None
    later: bool = False


@dataclass(frozen=True)
class Tale:
    """Messages that belong together; see :class:`tests.storms.intake_plan.Story`."""

    drafts: tuple[Draft, ...]
    allowed: tuple[tuple[str, ...], ...]
    ends: str | None = None


class Author:
    """
    Invents tales.

    :param workflows: each has the tasks ``_stage``, ``_check`` (external) and ``_report``, which follows both.
    """

    def __init__(self, chance: random.Random, workflows: Sequence[str], live_task: str, live_workflow: str) -> None:
        self._chance = chance
        self._workflows = workflows
        self._live_task, self._live_workflow = live_task, live_workflow
        self._numbers = itertools.count(1)
        self._bad = itertools.cycle(_BAD)
        self._tales: tuple[tuple[int, int, Callable[[], Tale]], ...] = (
            # weight, messages, tale
            (30, 1, self._plain),
            (4, 1, self._unnamed),
            (8, 3, self._repeated_later),
            (5, 3, self._repeated_at_once),
            (5, 2, self._other_content_later),
            (4, 2, self._other_content_at_once),
            (18, 1, self._bad_message),
            (3, 1, self._refused_by_airflow),
            (6, 2, self._external_task_ends),
            (5, 2, self._starts_behind_a_task),
            (5, 2, self._completion_of_a_batch),
            (4, 2, self._completion_beside_its_start),
            (4, 1, self._completion_of_nothing),
            (6, 2, self._file_sent_again),
            (4, 2, self._file_written_again),
            (4, 1, self._file_without_effect),
        )

    def tale(self, longest: int) -> Tale:
        """Return another tale of at most so many messages."""
        fitting = [(weight, tell) for weight, length, tell in self._tales if length <= longest]
        (tell,) = self._chance.choices([tell for _, tell in fitting], [weight for weight, _ in fitting])
        return tell()

    def live(self, number: int) -> Tale:
        """Return a tale whose run comes to its end: its one task is external, and a tenth of them fail."""
        workflow, task = self._live_workflow, self._live_task
        batch = self._batch_id()
        failed = number % 10 == 9
        completion = {"previous_task_id": task, "batch_id": batch, "status": "ERROR" if failed else "SUCCESS", "error": "no data"}
        ends = "failed" if failed else "success"
        if number % 2:  # the completion starts the batch
            conf = {"start_task_id": [task], "scope": "downstream"}
            draft = Draft(_json(completion), {DISPATCHED: ""}, asks_for=((workflow, batch),), conf=conf)
            return Tale((draft,), ((DISPATCHED,),), ends)
        start = self._start_of(workflow, task, batch, "workflow", {})
        return Tale((start, Draft(_json(completion), {RECORDED: ""}, later=True)), ((DISPATCHED, RECORDED),), ends)

    # --- starts

    def _plain(self) -> Tale:
        return Tale((self._start(),), ((DISPATCHED,),))

    def _unnamed(self) -> Tale:
        """A start without a batch_id: every such message is a batch of its own."""
        return Tale((self._start(named=False),), ((DISPATCHED,),))

    def _repeated_later(self) -> Tale:
        start = self._start()
        copies = [replace(start, data=self._said_otherwise(start.data), later=True) for _ in range(2)]
        return Tale((start, *copies), ((DISPATCHED, DUPLICATE, DUPLICATE),))

    def _repeated_at_once(self) -> Tale:
        """Copies that race: whichever is delivered first starts the batch."""
        start = self._start()
        copies = (start, start, replace(start, data=self._said_otherwise(start.data)))
        return Tale(copies, tuple(tuple(DISPATCHED if one == first else DUPLICATE for one in range(3)) for first in range(3)))

    def _other_content_later(self) -> Tale:
        start, other = self._two_wishes()
        return Tale((start, replace(other, later=True)), ((DISPATCHED, REJECTED),))

    def _other_content_at_once(self) -> Tale:
        return Tale(self._two_wishes(), ((DISPATCHED, REJECTED), (REJECTED, DISPATCHED)))

    def _refused_by_airflow(self) -> Tale:
        """Params that the workflow does not allow: Airflow finds that out when the run is made."""
        workflow = self._workflow()
        params = self._chance.choice(({"region": "mars"}, {"limit": -1}, {"limit": "many"}))
        start = self._start_of(workflow, f"{workflow}_stage", self._batch_id(), "workflow", params)
        refused = {REJECTED: "Airflow refuses the run: "}
        return Tale((replace(start, reasons=refused, asks_for=(), conf=None),), ((REJECTED,),))

    def _bad_message(self) -> Tale:
        data, attributes, reason = next(self._bad)(next(self._numbers), f"{self._workflow()}_stage")
        return Tale((Draft(data, {REJECTED: reason}, attributes),), ((REJECTED,),))

    # --- completions

    def _external_task_ends(self) -> Tale:
        """Of a batch that nobody has started: it starts at the external task, which finds the message."""
        workflow, batch = self._workflow(), self._batch_id()
        task = f"{workflow}_check"
        conf = {"start_task_id": [task], "scope": "downstream"}
        first = Draft(_completion(task, batch), {DISPATCHED: ""}, asks_for=((workflow, batch),), conf=conf)
        second = Draft(_completion(task, batch, status="ERROR"), {RECORDED: ""}, later=True)
        return Tale((first, second), ((DISPATCHED, RECORDED),))

    def _starts_behind_a_task(self) -> Tale:
        """The end of a task that Airflow would run itself starts what follows it; a start of the same batch comes too late."""
        workflow, batch = self._workflow(), self._batch_id()
        late = self._start_of(workflow, f"{workflow}_stage", batch, "workflow", {})
        return Tale((self._behind(workflow, batch), replace(late, later=True)), ((DISPATCHED, REJECTED),))

    def _completion_of_a_batch(self) -> Tale:
        workflow, batch = self._workflow(), self._batch_id()
        task, reason = self._chance.choice(((f"{workflow}_stage", _RECORDED_ONLY), (f"{workflow}_check", "")))
        start = self._start_of(workflow, f"{workflow}_stage", batch, "workflow", {})
        news = Draft(_completion(task, batch), {RECORDED: reason}, later=True)
        return Tale((start, news), ((DISPATCHED, RECORDED),))

    def _completion_beside_its_start(self) -> Tale:
        """Whichever is delivered first starts the batch."""
        workflow, batch = self._workflow(), self._batch_id()
        start = self._start_of(workflow, f"{workflow}_stage", batch, "workflow", {})
        return Tale((start, self._behind(workflow, batch)), ((DISPATCHED, RECORDED), (REJECTED, DISPATCHED)))

    def _completion_of_nothing(self) -> Tale:
        workflow = self._workflow()
        task, status = self._chance.choice(((f"{workflow}_stage", "ERROR"), (f"{workflow}_report", "SUCCESS")))
        return Tale((Draft(_completion(task, self._batch_id(), status=status), {RECORDED: _NEVER_STARTED}),), ((RECORDED,),))

    def _behind(self, workflow: str, batch: str) -> Draft:
        task = f"{workflow}_stage"
        conf = {
            "start_task_id": [f"{workflow}_report"],
            "scope": "downstream",
            "_accelerator": {"completed_task_id": task},
        }
        reasons = {DISPATCHED: "", RECORDED: _RECORDED_ONLY}
        return Draft(_completion(task, batch), reasons, asks_for=((workflow, batch),), conf=conf)

    # --- files

    def _file_sent_again(self) -> Tale:
        """For one workflow or for two."""
        file = self._file(self._chance.choice(("sales", "stock/2024")))
        return Tale((file, replace(file, later=True)), ((DISPATCHED, DUPLICATE),))

    def _file_written_again(self) -> Tale:
        """A new generation of an object is a new batch."""
        name = f"returns/{next(self._numbers)}.csv"
        return Tale((self._file_called(name, "7"), self._file_called(name, "8")), ((DISPATCHED, DISPATCHED),))

    def _file_without_effect(self) -> Tale:
        number = next(self._numbers)
        event = self._chance.choice(("OBJECT_DELETE", "OBJECT_ARCHIVE", "OBJECT_METADATA_UPDATE", "OBJECT_FINALIZE"))
        name, reason = f"sales/{number}.csv", "of a file starts nothing"
        if event == "OBJECT_FINALIZE":  # matches the pattern of a workflow that is disabled, and of no other one
            name, reason = f"sales/{number}.json", "no enabled workflow has a file_pattern that matches this file."
        return Tale((Draft(b"", {RECORDED: reason}, _notification(name, "1", event)),), ((RECORDED,),))

    def _file(self, folder: str) -> Draft:
        return self._file_called(f"{folder}/{next(self._numbers)}.csv", str(self._chance.randrange(1, 10**16)))

    def _file_called(self, name: str, generation: str) -> Draft:
        batch = file_batch_id(LANDING, name, generation)
        workflows = ("files_csv", "files_sales") if name.startswith("sales/") else ("files_csv",)
        conf = {"bucket": LANDING, "object": name, "generation": generation, "scope": "workflow"}
        payload = self._chance.choice((b"", b'{"kind": "storage#object"}', b"\xff not read"))
        asks_for = tuple((workflow, batch) for workflow in workflows)
        return Draft(payload, START_REASONS, _notification(name, generation, "OBJECT_FINALIZE"), asks_for, conf)

    # --- pieces

    def _workflow(self) -> str:
        return self._chance.choice(self._workflows)

    def _batch_id(self) -> str:
        """Return another batch id, with characters that a URL could take for its own."""
        form = self._chance.choice(("Batch_{:06d}", "b.{}~x", "2024-03-16T00:00:00+00:00_{}", "+{}:-", "{}"))
        return form.format(next(self._numbers))

    def _start(self, *, named: bool = True) -> Draft:
        workflow = self._workflow()
        task = f"{workflow}_{self._chance.choice(('stage', 'check', 'report'))}"
        scope = self._chance.choice(("downstream", "task", "workflow"))
        params = self._chance.choice(({}, {"region": "us"}, {"limit": 7}, {"note": "{{ 7 * 7 }} ' OR 1=1 --"}))
        return self._start_of(workflow, task, self._batch_id() if named else None, scope, params)

    def _two_wishes(self) -> tuple[Draft, Draft]:
        workflow, batch = self._workflow(), self._batch_id()
        task = f"{workflow}_stage"
        others: tuple[tuple[str, str, dict[str, Any]], ...] = (
            (f"{workflow}_report", "task", {}),
            (task, "downstream", {}),
            (task, "task", {"limit": 1}),
        )
        other, scope, params = self._chance.choice(others)
        return self._start_of(workflow, task, batch, "task", {}), self._start_of(workflow, other, batch, scope, params)

    def _start_of(self, workflow: str, task: str, batch: str | None, scope: str, params: dict[str, Any]) -> Draft:
        fields = {"task_id": task, "batch_id": batch, "scope": scope, "params": params}
        data = _json({name: value for name, value in fields.items() if value is not None})
        conf = {**params, "scope": scope, "start_task_id": [task]}
        return Draft(data, START_REASONS, asks_for=((workflow, batch),), conf=conf)

    def _said_otherwise(self, data: bytes) -> bytes:
        """Return a message that says the same in other bytes: keys in another order, one that nobody reads, other blanks."""
        fields = [*json.loads(data).items(), ("sent_again", next(self._numbers))]
        self._chance.shuffle(fields)
        return json.dumps(dict(fields), indent=self._chance.choice((None, 1))).encode()


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def _completion(task: str, batch: str, *, status: str = "SUCCESS") -> bytes:
    return _json({"task_id": task, "previous_task_id": task, "batch_id": batch, "status": status})


def _notification(name: str, generation: str, event: str) -> dict[str, str]:
    return {
        "notificationConfig": f"projects/_/buckets/{LANDING}/notificationConfigs/1",
        "eventType": event,
        "payloadFormat": "JSON_API_V1",
        "bucketId": LANDING,
        "objectId": name,
        "objectGeneration": generation,
    }


Bad = tuple[bytes, Mapping[str, str], str]
"""Payload, attributes, and what the reason must hold."""


def _with_batch_id(batch_id: str, reason: str = BATCH_ID_REFUSED) -> Callable[[int, str], Bad]:
    return lambda number, task: (_json({"task_id": task, "batch_id": batch_id.format(number)}), {}, reason)


def _payload(data: str, reason: str) -> Callable[[int, str], Bad]:
    return lambda number, task: (data.replace("NUMBER", str(number)).replace("TASK", task).encode(), {}, reason)


_BAD: tuple[Callable[[int, str], Bad], ...] = (
    _payload("not JSON NUMBER", "the message is not JSON"),
    lambda number, task: (b"\xff\xfe%d" % number, {}, "the message is not UTF-8 (byte 0)"),
    _payload("[NUMBER]", "the message is a JSON array, not an object"),
    _payload('{"batch_id": "x_NUMBER"}', "the message has no task_id"),
    _payload('{"task_id": "nobody_NUMBER"}', "is in no row of the table tasks"),
    _payload('{"task_id": "TASK", "scope": "all_NUMBER"}', "scope: Input should be"),
    _payload('{"task_id": "TASK", "params": {"start_task_id": "NUMBER"}}', "params may not set start_task_id"),
    _payload('{"task_id": "TASK", "task_id": "NUMBER"}', "the message has the key 'task_id' twice"),
    _payload('{"task_id": "TASK", "params": {"limit": NaN, "n": NUMBER}}', "the message holds NaN, which is no JSON"),
    _payload('{"task_id": "TASK", "params": {"limit": NUMBER0000000000000000000}}', "has more than 64 bits"),
    _payload('{"task_id": "TASK", "params": {"a": ' + "[" * 40 + "NUMBER" + "]" * 40 + "}}", "nested deeper than 20 levels"),
    _payload('{"task_id": "TASK", "params": {"a": "NUMBER\\u0000"}}', "has a NUL or half a character"),
    _payload('{"task_id": NUMBER}', "task_id: Input should be a valid string"),
    _payload('{"previous_task_id": "TASK", "status": "SUCCESS", "n": NUMBER}', "the message has no batch_id"),
    _payload(
        '{"previous_task_id": "TASK", "batch_id": "NUMBER", "status": "DONE"}', "status: Input should be 'SUCCESS' or 'ERROR'"
    ),
    _payload('{"previous_task_id": "nobody", "batch_id": "c_NUMBER", "status": "ERROR"}', "is in no row of the table tasks"),
    _payload('{"previous_task_id": "TASK", "batch_id": "NUMBER/clear", "status": "SUCCESS"}', BATCH_ID_REFUSED),
    _with_batch_id("{}/clear"),
    _with_batch_id("../other/{}"),
    _with_batch_id("a?b={}"),
    _with_batch_id("{}%2Fclear"),
    _with_batch_id("{{{{ ds }}}}_{}"),
    _with_batch_id("{} or '1'='1"),
    _with_batch_id("y{:0200d}"),
    _with_batch_id("ä{}"),
    _with_batch_id("manual__{}", "begins with 'manual__', by which Airflow names runs of its own"),
    _with_batch_id("scheduled__{}", "begins with 'scheduled__', by which Airflow names runs of its own"),
    lambda number, task: (
        b"",
        _notification(f"sales/{number}.csv", "new", "OBJECT_FINALIZE"),
        "objectGeneration: String should match",
    ),
    lambda number, task: (
        b"",
        _notification("", str(number), "OBJECT_FINALIZE"),
        "objectId: String should have at least 1 character",
    ),
)
