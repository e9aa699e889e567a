"""Messages of every kind, for hypothesis: good ones, bad ones, and texts that somebody might evaluate, quote or cut wrongly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from google.pubsub_v1.types import PubsubMessage, ReceivedMessage
from hypothesis import strategies as st

from provider.batch_ids import MAX_LENGTH
from provider.message_json import MAX_BYTES

PLANTED = [
    "{{ 7 * 7 }}",
    "{% raw %}{{ conf.get('core', 'fernet_key') }}",
    "${HOME}",
    "$(id)`id`",
    "'; DROP TABLE batch_requests; --",
    '"}; SELECT 1; {"',
    "../other/x",
    "..",
    ".",
    "%2e%2e",
    "%2e%2e%2fother%2fx",
    "x/clear",
    "a?run_after=2020-01-01",
    "a#b",
    "a%00b",
    "http://169.254.169.254/latest",
    "__import__('os').system('id')",
    "manual__x",
    "scheduled__2026-01-01T00:00:00+00:00",
    "_accelerator",
    "B1\n",
    " B1 ",
    "B1\r\nSet-Cookie: x=1",
    "\u202eB1",
    "B\u0661",
    "\ufeffB1",
    "\U0001f600",
    "e\u0301",
    "\x00",
    "\ud800",
    "\udfff\ud800",
]
"""Jinja, shells, SQL, paths, URLs, headers, Unicode."""

HALF = re.compile("[\ud800-\udfff]")
LIMITS = ["x" * length for length in (MAX_LENGTH, MAX_LENGTH + 1, 250, 251)] + ["\u00e9" * MAX_LENGTH]
EVERY_CHARACTER = st.characters(exclude_categories=())  # half characters too
TEXTS = st.one_of(st.sampled_from(PLANTED), st.sampled_from(LIMITS), st.text(EVERY_CHARACTER, max_size=20))
RAW_NUMBERS = [
    "0",
    "-0.0",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "1" + "0" * 400,
]
RAW_NUMBERS += ["1e308", "1e999", "-1e999", "5e-324", "NaN", "Infinity"]
NUMBERS = st.sampled_from([json.loads(number) for number in RAW_NUMBERS]) | st.floats()
SCALARS = st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS


def _containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(children, max_size=4) | st.dictionaries(TEXTS, children, max_size=4)


JSON = st.recursive(SCALARS, _containers, max_leaves=8)

CLEAN = st.dictionaries(
    st.sampled_from([text for text in PLANTED if text.isprintable() and not text.startswith("_")]),
    st.sampled_from([text for text in PLANTED if "\x00" not in text and not HALF.search(text)]),
    min_size=1,
    max_size=4,
)
"""Params that any database can hold, and that mean something to a shell, a template or a path."""
FIELDS = st.sampled_from(["task_id", "batch_id", "scope", "params", "status", "previous_task_id", "error", "sender"])
NOTIFICATION = ["eventType", "bucketId", "objectId", "objectGeneration"]
NOISE = [b'"', b"\\", b"\xff", b"\x00", b"NaN", b"{", b"1e999", b",", b"\xc3\xa9"]
DEPTHS = [16, 17, 18, 19, 1000, 30_000]
RAW = '{"task_id": "stg_orders", "params": {"x": "\u00e9\U0001f600"}}'
CODES = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-le", "utf-7"]).map(RAW.encode)


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def insert(data: bytes, at: int, noise: bytes) -> bytes:
    return data[:at] + noise + data[at:]


def nested(depth: int, opening: str) -> bytes:
    closing = {"[": "]", '{"x":': "}"}[opening]
    return f'{{"task_id": "stg_orders", "params": {{"x": {opening * depth}1{closing * depth}}}}}'.encode()


def padded(size: int) -> bytes:
    """A right message of exactly so many bytes, or as few as it can have."""
    frame = len(json.dumps({"task_id": "stg_orders", "params": {"x": ""}}))
    return json.dumps({"task_id": "stg_orders", "params": {"x": "y" * (size - frame)}}).encode()


PROTOBUF_TEXTS = TEXTS.map(lambda text: HALF.sub("?", text))
ARRIVED = st.fixed_dictionaries(
    {
        "eventType": st.just("OBJECT_FINALIZE"),
        "bucketId": st.just("landing"),
        "objectId": st.sampled_from(["sales/orders.csv", "sales/2024/orders.csv", "stock/{{ 7 * 7 }}.csv", "orders.json"]),
        "objectGeneration": st.sampled_from(["1", "1710576000000001"]),
    },
    optional={"payloadFormat": PROTOBUF_TEXTS, "overwroteGeneration": PROTOBUF_TEXTS},
)
OBJECTS = st.sampled_from(["x" * 1024, "x" * 1025, "a/" * 500, "/"]) | PROTOBUF_TEXTS.map(lambda text: f"sales/{text}.csv")
OTHER_ATTRIBUTES = st.dictionaries(PROTOBUF_TEXTS, PROTOBUF_TEXTS, max_size=3)
PUBLISHED = st.sampled_from([datetime(2024, 3, 16, 12, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), None])


class Messages:
    """
    Strategies of payloads and attributes.

    :param task_ids: tasks that right messages name, and ``batch_ids`` their batches.
    """

    def __init__(self, task_ids: list[str], batch_ids: list[str]) -> None:
        tasks, batches = st.sampled_from(task_ids), st.sampled_from(batch_ids)
        scopes = st.sampled_from(["downstream", "task", "workflow"])
        params = st.dictionaries(TEXTS, TEXTS | JSON, max_size=4)
        self.start = st.fixed_dictionaries({"task_id": tasks, "batch_id": batches}, optional={"scope": scopes, "params": params})
        self.completion = st.fixed_dictionaries(
            {"previous_task_id": tasks, "batch_id": batches, "status": st.sampled_from(["SUCCESS", "ERROR"])},
            optional={"task_id": TEXTS, "error": TEXTS, "error_message": TEXTS},
        )
        self._kinds: dict[str, st.SearchStrategy[tuple[bytes, dict[str, str]]]] = {
            "start": self._told(self.start),
            "start with stored params": self._told(st.builds(lambda right, more: {**right, "params": more}, self.start, CLEAN)),
            "start in an odd batch": self._told(self._with(self.start, st.just("batch_id"), TEXTS)),
            "start at an odd task": self._told(self._with(self.start, st.just("task_id"), TEXTS)),
            "odd start": self._told(self._with(self.start, FIELDS, JSON)),
            "completion": self._told(self.completion),
            "odd completion": self._told(self._with(self.completion, FIELDS, TEXTS | JSON)),
            "file": self._arrived(ARRIVED),
            "file of an odd name": self._arrived(self._with(ARRIVED, st.just("objectId"), OBJECTS)),
            "odd file": self._arrived(self._with(ARRIVED, st.sampled_from(NOTIFICATION), PROTOBUF_TEXTS)),
            "JSON": self._told(_containers(JSON)),
            "bytes": self._bytes(st.binary(max_size=60)),
            "another code": self._bytes(CODES),
            "noise": self._bytes(
                st.builds(insert, self.start.map(encode), st.integers(0, 60), st.binary(min_size=1, max_size=3))
            ),
            "a key twice": self._bytes(self.start.map(lambda fields: encode(fields)[:-1] + b', "task_id": "stg_small"}')),
            "deep": self._bytes(st.builds(nested, st.sampled_from(DEPTHS), st.sampled_from(["[", '{"x":']))),
            "huge": self._bytes(st.sampled_from([MAX_BYTES - 1, MAX_BYTES, MAX_BYTES + 1, 2 * MAX_BYTES]).map(padded)),
        }

    @staticmethod
    def _with(right: st.SearchStrategy[Any], field: st.SearchStrategy[str], value: st.SearchStrategy[Any]) -> Any:
        return st.builds(lambda fields, key, odd: {**fields, key: odd}, right, field, value)

    @staticmethod
    def _told(values: st.SearchStrategy[Any]) -> Any:
        return st.tuples(values.map(encode), OTHER_ATTRIBUTES)

    @staticmethod
    def _bytes(values: st.SearchStrategy[bytes]) -> Any:
        return st.tuples(values, st.just({}))

    @staticmethod
    def _arrived(attributes: st.SearchStrategy[dict[str, str]]) -> Any:
        return st.tuples(st.sampled_from([b"{}", b"", b"\xff"]), attributes)

    def received(self) -> st.SearchStrategy[ReceivedMessage]:
        """One message as Google's client hands it over."""
        kinds = st.sampled_from(sorted(self._kinds)).flatmap(self._kinds.__getitem__)
        return st.builds(lambda parts, published: received("1", parts[0], parts[1], published), kinds, PUBLISHED)


def received(message_id: str, data: bytes, attributes: dict[str, str], published: datetime | None) -> ReceivedMessage:
    message = PubsubMessage(data=data, attributes=attributes, message_id=message_id, publish_time=published)
    return ReceivedMessage(ack_id=f"ack {message_id}", message=message)


def everywhere(texts: Iterable[str]) -> Iterator[ReceivedMessage]:
    """Put each text into each place that is kept or handed on, and each number and depth into the params."""
    right = {"task_id": "stg_orders", "batch_id": "B1"}
    file = {"eventType": "OBJECT_FINALIZE", "bucketId": "landing", "objectGeneration": "1"}
    for text in texts:
        clean = HALF.sub("?", text)
        yield received("1", encode({**right, "batch_id": text}), {}, None)
        yield received("1", encode({**right, "task_id": text}), {}, None)
        yield received("1", encode({**right, "params": {text: text, "list": [{"x": text}]}}), {clean: clean}, None)
        told = {"previous_task_id": "dq_check", "batch_id": "B1", "status": "ERROR", "error": text}
        yield received("1", encode({**told, "task_id": text}), {}, None)
        yield received("1", b"{}", {**file, "objectId": f"sales/{clean}.csv"}, None)
    yield received("1", encode({"task_id": "stg_stock", "batch_id": "B1", "params": {"x": PLANTED[0]}}), {}, None)
    for number in RAW_NUMBERS:
        yield received("1", f'{{"task_id": "stg_orders", "batch_id": "B1", "params": {{"x": [{number}]}}}}'.encode(), {}, None)
    for depth in DEPTHS:
        yield received("1", nested(depth, "["), {}, None)
