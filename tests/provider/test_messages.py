"""Messages of strangers: each is a request or has one clear reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provider.exceptions import MessageError
from provider.messages import MAX_BYTES, MAX_DEPTH, parse, read


def message(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_the_shortest_message() -> None:
    request = parse(message(task_id="stg_orders"), {}, "42")
    assert (request.kind, request.task_id, request.batch_id) == ("start", "stg_orders", "msg_42")
    assert (request.scope, request.params) == ("downstream", {})


def test_a_full_message_with_keys_that_we_do_not_know() -> None:
    fields = {"task_id": "a", "batch_id": "B1", "scope": "task", "params": {"day": "2024-03-16"}, "sender": "crm", "kind": "x"}
    request = parse(message(**fields), {"any": "attribute"}, "1")
    assert (request.kind, request.batch_id, request.scope, request.params) == ("start", "B1", "task", {"day": "2024-03-16"})
    assert request.model_extra == {"sender": "crm"}


def test_null_is_the_same_as_absent() -> None:
    request = parse(message(task_id="a", batch_id=None, scope=None, params=None, status=None), {}, "7")
    assert (request.batch_id, request.scope, request.params) == ("msg_7", "downstream", {})


def test_a_byte_order_mark_is_no_problem() -> None:
    assert parse(b"\xef\xbb\xbf" + message(task_id="a"), {}, "1").task_id == "a"


def test_template_strings_stay_strings() -> None:
    params = {"x": "{{ 7 * 7 }}", "y": "${HOME}", "z": "__import__('os')"}
    assert parse(message(task_id="a", params=params), {}, "1").params == params


def nested(depth: int) -> bytes:
    return b'{"task_id": "a", "params": ' + b'{"x":' * depth + b"1" + b"}" * depth + b"}"


REFUSED = {
    "empty": (b"", "not JSON"),
    "not JSON": (b"task_id=a", "not JSON"),
    "python": (b"{'task_id': 'a'}", "not JSON"),
    "not UTF-8": (b'{"task_id": "\xff"}', "not UTF-8"),
    "UTF-16": (json.dumps({"task_id": "a"}).encode("utf-16"), "not UTF-8"),
    "array": (b'["a"]', "array, not an object"),
    "string": (b'"a"', "string, not an object"),
    "number": (b"1", "number, not an object"),
    "null": (b"null", "null, not an object"),
    "no task": (message(batch_id="b"), "no task_id"),
    "null task": (message(task_id=None), "no task_id"),
    "task number": (message(task_id=1), "task_id: .*string"),
    "task list": (message(task_id=["a"]), "task_id: .*string"),
    "empty task": (message(task_id=""), "task_id: "),
    "long task": (message(task_id="x" * 251), "task_id: .*250"),
    "batch number": (message(task_id="a", batch_id=20240316), "batch_id: .*string"),
    "hostile batch": (message(task_id="a", batch_id="x/clear"), "cannot be a run id"),
    "reserved batch": (message(task_id="a", batch_id="manual__x"), "manual__"),
    "scope": (message(task_id="a", scope="everything"), "scope: .*downstream"),
    "params list": (message(task_id="a", params=[1]), "params: .*dict"),
    "our conf key": (message(task_id="a", params={"_accelerator": {"request_id": 1}}), "_accelerator"),
    "completion": (message(task_id="a", batch_id="b", previous_task_id="a", status="SUCCESS"), "end of a task"),
    "key twice": (b'{"task_id": "a", "task_id": "b"}', "'task_id' twice"),
    "NaN": (b'{"task_id": "a", "params": {"x": NaN}}', "NaN"),
    "infinity": (b'{"task_id": "a", "params": {"x": 1e999}}', "too large"),
    "huge number": (b'{"task_id": "a", "params": {"x": %d}}' % 2**64, "64 bits"),
    "endless number": (b'{"task_id": "a", "params": {"x": ' + b"9" * 10_000 + b"}}", "not JSON"),
    "NUL": (message(task_id="a", params={"x\x00": 1}), "NUL"),
    "half a character": (message(task_id="a", params={"x": ["\ud800"]}), "half a character"),
    "deep": (nested(MAX_DEPTH), "nested deeper"),
    "deeper than the parser": (nested(30_000), "nested deeper"),
    "long": (message(task_id="a", params={"x": "y" * MAX_BYTES}), "bytes, more than"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_accepted_has_one_clear_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MessageError, match=reason) as caught:
        parse(data, {}, "1")
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    row = read(data, {}, "1", None)
    assert (row.payload, row.problem, row.task_id) == (data, str(caught.value), None)


def test_the_deepest_nesting_that_is_accepted() -> None:
    assert parse(nested(MAX_DEPTH - 2), {}, "1").params


def test_equal_content_has_an_equal_hash() -> None:
    def content_hash(**fields: Any) -> str:
        return parse(message(task_id="a", batch_id="b") if not fields else message(**fields), {}, "1").content_hash

    same = content_hash(params={"x": 1, "y": 2}, task_id="a", sender="p")
    assert same == content_hash(task_id="a", params={"y": 2, "x": 1}, scope="downstream", sender="q")
    assert len({same, content_hash(task_id="a"), content_hash(task_id="b"), content_hash(task_id="a", scope="task")}) == 4
