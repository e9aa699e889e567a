"""Tasks with one mistake each in a configuration that is about an action on a service, and the line that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.dag_factory.bad_task_rows import TASK
from tests.dag_factory.definitions import Rows


def _deletes(**config: Any) -> Callable[[Rows], None]:
    return lambda rows: rows.task("dim_date").update(task_type="gcs_delete", config={"bucket": "landing", **config})


def _publishes(*messages: dict[str, Any], topic: str = "projects/p/topics/told") -> Callable[[Rows], None]:
    config = {"topic": topic, "messages": list(messages)}
    return lambda rows: rows.task("dim_date").update(task_type="pubsub_publish", config=config)


def _asks(endpoint: str = "orders", **config: Any) -> Callable[[Rows], None]:
    return lambda rows: rows.task("dim_date").update(task_type="http", config={"endpoint": endpoint, **config})


BAD_CONFIG_ROWS: dict[str, tuple[Callable[[Rows], None], str]] = {
    "nothing to delete": (_deletes(), TASK + "config: give exactly one of object, prefix; given: none"),
    "two things to delete": (
        _deletes(object="a", prefix="b/"),
        TASK + "config: give exactly one of object, prefix; given: object, prefix",
    ),
    "a glob for one object": (_deletes(object="a", match_glob="*"), TASK + "config: match_glob: does not go with object"),
    "a beginning to delete": (_deletes(prefix="in"), TASK + "config.prefix: must end with '/', as the name of a folder"),
    "a bucket to delete": (
        _deletes(prefix="/"),
        TASK + "config: prefix: is the name of no folder; a whole bucket is not deleted",
    ),
    "no full topic": (
        _publishes({"data": "x"}, topic="told"),
        TASK + "config.topic: 'told' is not the full name of a Pub/Sub topic; write projects/PROJECT/topics/TOPIC",
    ),
    "an empty message": (
        _publishes({"data": ""}),
        TASK + "config.messages[0]: give data, or attributes; Pub/Sub takes no empty message",
    ),
    "messages of two keys": (
        _publishes(*({"data": "x", "ordering_key": key} for key in ("fr", "{{ batch_id }}", "de"))),
        TASK + "config.messages: all messages of a call have the same ordering_key, not 'de' and 'fr'; make a task for each",
    ),
    "messages with and without a key": (
        _publishes({"data": "x"}, {"data": "x", "ordering_key": "de"}),
        TASK + "config.messages: all messages of a call have the same ordering_key, not none and 'de'; make a task for each",
    ),
    "an attribute of Google's": (
        _publishes({"attributes": {"googclient": "x"}}),
        TASK + "config.messages[0].attributes: 'googclient' begins with goog, which Pub/Sub keeps for itself; rename it",
    ),
    "an attribute that is no text": (
        _publishes({"attributes": {"n": 1}}),
        TASK + "config.messages[0].attributes.n: must be text, not 1",
    ),
    "an attribute's length": (
        _publishes({"attributes": {"ä" * 129: "x"}}),
        TASK + f"config.messages[0].attributes: '{'ä' * 79}… (131 characters) is longer than 256 bytes; shorten it",
    ),
    "an endpoint with a query": (
        _asks("orders?day=1"),
        TASK
        + "config.endpoint: endpoint is a path behind the address of the connection, not 'orders?day=1'; what follows a ? is "
        "written in query_parameters",
    ),
    "a placeholder without a value": (
        _asks("orders/{order}"),
        TASK + "config: {order} has no value in path_parameters; give each placeholder of the endpoint a value, and no other",
    ),
    "a header with a secret": (
        _asks(headers={"Authorization": "Bearer hunter2"}),
        TASK + "config.headers: Authorization carries a secret; put it into the connection (login, password or extra)",
    ),
    "a header that HTTP does not carry": (
        _asks(headers={"X-A": "a\nb"}),
        TASK + "config.headers: The header X-A has a value that HTTP does not carry: 'a\\nb'. Correct it",
    ),
    "a method that is none": (
        _asks(method="FETCH"),
        TASK + "config.method: must be one of 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', not 'FETCH'",
    ),
    "a body of a GET": (
        _asks(json={"a": 1}),
        TASK + "config: json: a GET request has no body; write query_parameters, or another method",
    ),
    "two bodies": (
        _asks(method="POST", json={"a": 1}, data="x"),
        TASK + "config: give json or data, not both; a request has one body",
    ),
    "too much of an answer": (
        _asks(keep_answer=True, max_answer_bytes=2**21),
        TASK + "config: max_answer_bytes: an answer that is kept has at most 1048576 bytes; leave keep_answer out",
    ),
}
