"""Messages of strangers: each is a request or has one clear reason."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from provider.exceptions import MessageError
from provider.message_json import MAX_BYTES, MAX_DEPTH
from provider.messages import CompletionMessage, FileNotification, StartMessage, parse, read


def message(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def start(data: bytes, attributes: dict[str, str] | None = None, message_id: str = "1") -> StartMessage:
    parsed = parse(data, attributes or {}, message_id)
    assert isinstance(parsed, StartMessage)
    return parsed


def test_the_shortest_message() -> None:
    request = start(message(task_id="stg_orders"), message_id="42")
    assert (request.task_id, request.batch_id) == ("stg_orders", "msg_42")
    assert (request.scope, request.params) == ("downstream", {})
    assert read(message(task_id="stg_orders"), {}, "42", None).kind == "start"


def test_a_full_message_with_keys_that_we_do_not_know() -> None:
    fields = {"task_id": "a", "batch_id": "B1", "scope": "task", "params": {"day": "2024-03-16"}, "sender": "crm", "kind": "x"}
    request = start(message(**fields), {"any": "attribute"})
    assert (request.batch_id, request.scope, request.params) == ("B1", "task", {"day": "2024-03-16"})
    assert request.model_extra == {"sender": "crm", "kind": "x"}


def test_null_is_the_same_as_absent() -> None:
    nulls = dict.fromkeys(("batch_id", "scope", "params", "status", "previous_task_id"))
    request = start(message(task_id="a", **nulls), message_id="7")
    assert (request.batch_id, request.scope, request.params) == ("msg_7", "downstream", {})


def test_a_byte_order_mark_is_no_problem() -> None:
    assert start(b"\xef\xbb\xbf" + message(task_id="a")).task_id == "a"


def test_template_strings_stay_strings() -> None:
    params = {"x": "{{ 7 * 7 }}", "y": "${HOME}", "z": "__import__('os')"}
    assert start(message(task_id="a", params=params)).params == params


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
    "a status of nothing": (message(task_id="a", batch_id="b", status="SUCCESS"), "no previous_task_id"),
    "an end without its batch": (message(previous_task_id="a", status="SUCCESS"), "no batch_id"),
    "an end without a status": (message(task_id="a", batch_id="b", previous_task_id="a"), "no status"),
    "another status": (message(batch_id="b", previous_task_id="a", status="DONE"), "status: .*'SUCCESS' or 'ERROR'"),
    "an end in a hostile batch": (message(batch_id="../b", previous_task_id="a", status="ERROR"), "cannot be a run id"),
    "an end with a list": (message(batch_id="b", previous_task_id=["a"], status="ERROR"), "previous_task_id: .*string"),
    "a long error": (message(batch_id="b", previous_task_id="a", status="ERROR", error="x" * 10_001), "error: .*10000"),
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
    assert start(nested(MAX_DEPTH - 2)).params


def test_equal_content_has_an_equal_hash() -> None:
    def content_hash(**fields: Any) -> str:
        return parse(message(task_id="a", batch_id="b") if not fields else message(**fields), {}, "1").content_hash

    same = content_hash(params={"x": 1, "y": 2}, task_id="a", sender="p")
    assert same == content_hash(task_id="a", params={"y": 2, "x": 1}, scope="downstream", sender="q")
    assert len({same, content_hash(task_id="a"), content_hash(task_id="b"), content_hash(task_id="a", scope="task")}) == 4


def test_the_end_of_a_task_in_the_words_of_the_original_system() -> None:
    data = message(task_id="dq_check", batch_id="Batch_20240316_001", previous_task_id="dq_check", status="SUCCESS")
    assert isinstance(parse(data, {}, "1"), CompletionMessage)
    row = read(data, {}, "1", None)
    assert (row.kind, row.task_id, row.batch_id, row.status) == ("completion", "dq_check", "Batch_20240316_001", "SUCCESS")
    assert (row.problem, row.error) == (None, None)


@pytest.mark.parametrize("name", ["error", "error_message"])
def test_an_error_brings_its_reason(name: str) -> None:
    row = read(message(batch_id="b", previous_task_id="a", status="ERROR", **{name: "{{ 7 * 7 }} broke"}), {}, "1", None)
    assert (row.status, row.error) == ("ERROR", "{{ 7 * 7 }} broke")


FILE = {
    "notificationConfig": "projects/_/buckets/landing/notificationConfigs/1",
    "eventType": "OBJECT_FINALIZE",
    "payloadFormat": "JSON_API_V1",
    "bucketId": "landing",
    "objectId": "sales/2024 03/orders.csv",
    "objectGeneration": "1710576000000001",
}


def test_a_file_has_one_batch_for_each_generation() -> None:
    parsed = parse(b"this is not read", FILE, "1")
    assert isinstance(parsed, FileNotification)
    first, again = (read(b"{}", FILE, message_id, None) for message_id in ("1", "2"))
    newer = read(b"{}", FILE | {"objectGeneration": "1710576000000002"}, "3", None)
    assert (first.kind, first.problem, first.scope) == ("file", None, "workflow")
    assert first.params == {"bucket": "landing", "object": "sales/2024 03/orders.csv", "generation": "1710576000000001"}
    assert (first.batch_id, first.content_hash) == (again.batch_id, again.content_hash)
    assert str(first.batch_id).startswith("file_")
    assert newer.batch_id != first.batch_id


@pytest.mark.parametrize("event", ["OBJECT_DELETE", "OBJECT_ARCHIVE", "OBJECT_METADATA_UPDATE", "OBJECT_OF_TOMORROW"])
def test_what_else_happens_to_files_starts_nothing(event: str) -> None:
    row = read(b"{}", FILE | {"eventType": event}, "1", None)
    assert (row.problem, row.batch_id) == (None, None)
    assert event in str(row.no_effect)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"objectGeneration": "now"}, "objectGeneration: "),
        ({"objectGeneration": "1\n"}, "objectGeneration: "),
        ({"objectId": "x" * 1025}, "objectId: .*1024"),
        ({"objectId": "\x00"}, "NUL"),
        ({"bucketId": ""}, "bucketId: "),
    ],
)
def test_a_notification_that_cannot_be_one(attributes: dict[str, str], reason: str) -> None:
    row = read(b"{}", FILE | attributes, "1", None)
    assert re.search(reason, str(row.problem))
    assert row.kind == "file"
    missing = {key: value for key, value in FILE.items() if key not in attributes or key == "bucketId"}
    assert read(b"{}", missing, "1", None).problem or "bucketId" in attributes


STORED = {"bucket": "landing", "name": "sales/2024 03/orders.csv", "generation": "1710576000000001", "size": "12"}
EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "//storage.googleapis.com/projects/_/buckets/landing",
    "type": "google.cloud.storage.object.v1.finalized",
    "subject": "objects/sales/2024 03/orders.csv",
}
BINARY = {f"ce-{name}": value for name, value in EVENT.items()} | {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("data", "attributes"),
    [
        (STORED, BINARY),
        (STORED, {name.upper(): value for name, value in BINARY.items()}),
        (EVENT | {"data": STORED}, {"content-type": "application/cloudevents+json; charset=UTF-8"}),
        (EVENT | {"data": STORED}, {}),
        (EVENT | {"data": STORED | {"size": 12, "generation": 1710576000000001}}, {}),
        (EVENT | {"bucket": "landing", "data": {"generation": "1710576000000001", "size": "12"}}, {}),
    ],
)
def test_a_cloud_event_of_eventarc_is_the_notification_that_it_stands_for(
    data: dict[str, Any], attributes: dict[str, str]
) -> None:
    row, notified = read(json.dumps(data).encode(), attributes, "1", None), read(json.dumps(STORED).encode(), FILE, "2", None)
    for name in ("kind", "problem", "batch_id", "scope", "params", "content_hash", "file_size"):
        assert getattr(row, name) == getattr(notified, name), name
    assert (row.kind, row.file_size) == ("file", 12)


@pytest.mark.parametrize("kind", ["deleted", "archived", "metadataUpdated", "ofTomorrow"])
def test_another_cloud_event_of_a_file_starts_nothing(kind: str) -> None:
    event = EVENT | {"type": f"google.cloud.storage.object.v1.{kind}", "data": STORED}
    row = read(json.dumps(event).encode(), {}, "1", None)
    assert (row.kind, row.problem, row.batch_id) == ("file", None, None)
    assert "starts nothing" in str(row.no_effect)


@pytest.mark.parametrize(
    ("data", "attributes", "reason"),
    [
        (
            EVENT | {"type": "google.cloud.audit.log.v1.written", "data": {}},
            {},
            "CloudEvent of type 'google.cloud.audit.log.v1.written'",
        ),
        (STORED, BINARY | {"ce-type": "com.example.x"}, "CloudEvent of type 'com.example.x'"),
        (STORED, {"ce-specversion": "1.0"}, "CloudEvent of type None"),
        (EVENT, {}, "no object in data"),
        ([EVENT], {"content-type": "application/cloudevents-batch+json"}, "JSON array"),
        (EVENT | {"data": STORED | {"generation": "now"}}, {}, "objectGeneration: "),
        (EVENT | {"data": {"bucket": "landing"}}, {}, "no objectGeneration"),
        ({"generation": "1", "bucket": "x"}, BINARY | {"ce-subject": "objects/a\x00b"}, r"the text 'a\x00b' has a NUL"),
        ({"generation": "1", "name": "a"}, BINARY | {"ce-bucket": "land\x00ing"}, r"the text 'land\x00ing' has a NUL"),
    ],
)
def test_a_cloud_event_that_is_not_understood_is_named(data: Any, attributes: dict[str, str], reason: str) -> None:
    assert reason in str(read(json.dumps(data).encode(), attributes, "1", None).problem)


def test_a_start_may_have_keys_of_cloud_events() -> None:
    row = read(b'{"task_id": "a", "specversion": "1.0", "type": "x"}', {}, "1", None)
    assert (row.kind, row.problem, row.task_id) == ("start", None, "a")


@pytest.mark.parametrize("name", ["in/", "a/b/", "in_$folder$"])
def test_an_object_that_stands_for_a_folder_starts_nothing(name: str) -> None:
    row = read(b"", FILE | {"objectId": name}, "1", None)
    assert (row.problem, row.batch_id) == (None, None)
    assert "stands for a folder" in str(row.no_effect)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        *((b'{"size": "0"}', 0), (b'{"size": "7"}', 7), (b"", None), (b"{}", None), (b'{"size": 7}', None)),
        *(
            (b'{"size": "-7"}', None),
            (b'{"size": "\xc2\xb2"}', None),
            (b"\xff", None),
            (b'{"size": "' + b"9" * 5000 + b'"}', None),
        ),
    ],
)
def test_the_size_of_a_file_is_what_the_payload_says(data: bytes, size: int | None) -> None:
    row = read(data, FILE, "1", None)
    assert (row.problem, row.file_size) == (None, size)
