"""What came of the messages of a storm, against the publisher's own file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provider.metadata.states import DISPATCHED, DUPLICATE, RECEIVED, RECORDED, REJECTED
from tests.storms.intake_plan import Message, Story

_MOST_TELLING = (DISPATCHED, RECEIVED, DUPLICATE, REJECTED, RECORDED)
"""Of the rows of one message the first of these states is the message's."""

RunKey = tuple[str, str]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """
    One line of the publisher's file.

    :param asks_for: the batches that the message starts if it is what starts them.
    :param reasons: the states in which it may end → what the reason must hold; "" for no reason.
    :param conf: what the runs that it starts are told, without the ids in ``_accelerator``.
    """

    message_id: str
    story: int
    place: int
    data: bytes
    asks_for: tuple[RunKey, ...]
    reasons: Mapping[str, str]
    conf: Mapping[str, Any] | None


class PublishersFile:
    """A JSON line for every message, written when the service has taken it and named it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def append(self, messages: Sequence[Message], message_ids: Sequence[str]) -> None:
        """Write what was published, with the ids that the service gave."""
        with self.path.open("a", encoding="utf-8") as file:
            for message, message_id in zip(messages, message_ids, strict=True):
                draft = message.draft
                line = {
                    "message_id": message_id,
                    "story": message.story,
                    "place": message.place,
                    "data": base64.b64encode(draft.data).decode(),
                    "attributes": dict(draft.attributes),
                    "asks_for": [[workflow, batch or f"msg_{message_id}"] for workflow, batch in draft.asks_for],
                    "reasons": dict(draft.reasons),
                    "conf": draft.conf,
                }
                file.write(json.dumps(line) + "\n")

    def read(self) -> list[Published]:
        """Return all lines."""
        lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [
            Published(
                line["message_id"],
                line["story"],
                line["place"],
                base64.b64decode(line["data"]),
                tuple((workflow, batch) for workflow, batch in line["asks_for"]),
                line["reasons"],
                line["conf"],
            )
            for line in lines
        ]


class Verdict:
    """
    The comparison.

    :param published: the publisher's file.
    :param stories: how the messages may end.
    :param requests: the rows of ``batch_requests``.
    :param runs: rows of Airflow's ``dag_run`` of all workflows, with ``dag_id``, ``run_id``, ``conf`` and ``state``.
    :param unacknowledged: messages that the service still has.
    """

    def __init__(
        self,
        published: Sequence[Published],
        stories: Sequence[Story],
        requests: Sequence[Row],
        runs: Sequence[Row],
        unacknowledged: Collection[str],
    ) -> None:
        self._published = {message.message_id: message for message in published}
        self._lines = len(published)
        self._stories = stories
        self._unacknowledged = unacknowledged
        self._runs = Counter((run["dag_id"], run["run_id"]) for run in runs)
        self._run_rows = {(run["dag_id"], run["run_id"]): run for run in runs}
        self._requests: dict[str, list[Row]] = defaultdict(list)
        for row in requests:
            self._requests[row["message_id"]].append(row)
        self._accepted = Counter(
            (row["workflow_id"], row["batch_id"]) for row in requests if row["state"] in (DISPATCHED, RECEIVED)
        )
        self.states = {message_id: self._state(message_id) for message_id in self._published}
        self.intended = self._intended_runs()

    @property
    def missing(self) -> set[RunKey]:
        """Batches that must have a run and have none."""
        return set(self.intended) - set(self._runs)

    @property
    def extra(self) -> set[RunKey]:
        """Runs that nobody asked for."""
        return set(self._runs) - set(self.intended)

    @property
    def twice(self) -> set[RunKey]:
        """Batches with more than one run, or more than one request that was let through to start it."""
        return {key for counts in (self._runs, self._accepted) for key, count in counts.items() if count > 1}

    def sums(self) -> dict[str, int]:
        """Return how many messages were published, and how many ended in each state."""
        counts = Counter(self.states.values())
        states = {"started": DISPATCHED, "recorded": RECORDED, "duplicate": DUPLICATE, "rejected": REJECTED}
        return {"published": self._lines, **{name: counts[state] for name, state in states.items()}}

    def wrong(self) -> Iterator[str]:
        """Yield a line for everything that is not as it was intended."""
        for title in ("missing", "extra", "twice"):
            yield from (f"run {batch!r} of {workflow} is {title}" for workflow, batch in sorted(getattr(self, title)))
        published, *ended = self.sums().values()
        if published != sum(ended) or len(self._published) != published:
            yield f"the sum is wrong: {self.sums()}"
        yield from (f"message {one} was not acknowledged" for one in sorted(self._unacknowledged))
        strangers = self._requests.keys() - self._published.keys()
        yield from (f"a request of message {one}, which nobody has published" for one in sorted(strangers))
        for message in self._published.values():
            yield from self._wrong_rows(message)
        yield from self._wrong_stories()
        for key in sorted(set(self.intended) & set(self._runs)):
            yield from self._wrong_run(key)

    def _state(self, message_id: str) -> str:
        found = {row["state"] for row in self._requests.get(message_id, ())}
        return next((state for state in _MOST_TELLING if state in found), "not in the inbox")

    def _intended_runs(self) -> dict[RunKey, Story]:
        return {
            key: self._stories[message.story]
            for message in self._published.values()
            if any(line[message.place] == DISPATCHED for line in self._stories[message.story].allowed)
            for key in message.asks_for
        }

    def _wrong_rows(self, message: Published) -> Iterator[str]:
        rows = self._requests.get(message.message_id, [])
        if len(rows) != max(1, len(message.asks_for)):
            yield f"message {message.message_id} {message.data[:80]!r} has {len(rows)} requests"
        for row in rows:
            wanted = message.reasons.get(row["state"])
            reason = row["reason"] or ""
            if wanted is None or wanted not in reason or bool(wanted) != bool(reason):
                yield (
                    f"message {message.message_id} {message.data[:80]!r} is {row['state']}, reason {reason[:200]!r}; "
                    f"intended {dict(message.reasons)}"
                )
            # Of a request that has ended nothing is kept but the hash.
            digest = hashlib.sha256(message.data).hexdigest()
            if row["payload_sha256"] != digest or not message.data.startswith(bytes(row["payload"])):
                yield f"message {message.message_id} is stored with another payload"

    def _wrong_stories(self) -> Iterator[str]:
        found: dict[int, dict[int, str]] = defaultdict(dict)
        ids: dict[int, list[str]] = defaultdict(list)
        for message in self._published.values():
            found[message.story][message.place] = self.states[message.message_id]
            ids[message.story].append(message.message_id)
        for story in self._stories:
            states = tuple(found[story.number].get(place, "not published") for place in range(len(story.messages)))
            if states not in story.allowed:
                intended = " or ".join(map(str, story.allowed))
                yield f"messages {', '.join(ids[story.number])} ended as {states}; intended {intended}"

    def _wrong_run(self, key: RunKey) -> Iterator[str]:
        """Compare what a run was told with the message that has started it, and its end."""
        run, story = self._run_rows[key], self.intended[key]
        conf = dict(run["conf"] or {})
        origin = dict(conf.pop("_accelerator", {}))
        message = self._published.get(str(origin.pop("message_id", "")))
        request_id = origin.pop("request_id", None)
        place = (origin.pop("workflow_id", None), origin.pop("batch_id", None))
        request = next((row for row in self._requests[message.message_id] if row["id"] == request_id), None) if message else None
        if message is None or request is None or place != key or (request["workflow_id"], request["batch_id"]) != key:
            yield f"run {key[1]!r} of {key[0]} was started by no message about it: {run['conf']}"
            return
        told = {**conf, "_accelerator": origin} if origin else conf
        if request["state"] != DISPATCHED or told != message.conf:
            yield f"run {key[1]!r} of {key[0]} was told {told}, intended {message.conf}; its request is {request['state']}"
        if story.ends is not None and run["state"] != story.ends:
            yield f"run {key[1]!r} of {key[0]} is {run['state']}, intended {story.ends}"
