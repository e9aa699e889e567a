"""A request of a task to a real server: what is sent, what is kept, and what an error says."""

from __future__ import annotations

import base64
import gzip
import json
import logging
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import RemoteCallError
from tests.provider.operators.http_service import Asked, HttpService, call, connect, say

JSON = {"Content_Type": "application/json; charset=utf-8"}


def test_what_is_sent(shop: HttpService) -> None:
    call(
        "/v1/shops/{shop}/orders",
        path_parameters={"shop": "a/b ü?x=1#y"},
        query_parameters={"day": "2026-01-31&x=1", "open": True, "kind": ["a", 2], "none": None},
        headers={"X-Request-Id": "Batch_1"},
    )
    (asked,) = shop.asked
    assert asked.method == "GET"
    assert asked.target == ("/v1/shops/a%2Fb%20%C3%BC%3Fx%3D1%23y/orders?day=2026-01-31%26x%3D1&open=true&kind=a&kind=2")
    assert asked.headers["x-request-id"] == "Batch_1"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_body_and_a_query_go_together(shop: HttpService, method: str) -> None:
    assert call(method=method, json={"day": "ü", "none": None}, query_parameters={"dry": "1"}) == {"status": 204}
    (asked,) = shop.asked
    assert (asked.method, asked.target) == (method, "/orders?dry=1")
    assert asked.headers["content-type"] == "application/json"
    assert json.loads(asked.body) == {"day": "ü", "none": None}


@pytest.mark.parametrize(
    ("data", "sent", "kind"),
    [("täxt", "täxt".encode(), None), ({"a": "x y", "b": True}, b"a=x+y&b=true", "application/x-www-form-urlencoded")],
)
def test_a_body_that_is_no_json(shop: HttpService, data: Any, sent: bytes, kind: str | None) -> None:
    call(method="POST", data=data)
    (asked,) = shop.asked
    assert (asked.body, asked.headers.get("content-type")) == (sent, kind)


def test_head_has_a_query_and_no_body(shop: HttpService) -> None:
    shop.says(200, b"not sent")
    assert call(method="HEAD", query_parameters={"a": 1}, keep_answer=True) == {"status": 200, "body": None}
    assert shop.asked[0].target == "/orders?a=1"


@pytest.mark.parametrize(
    ("headers", "body", "kept"),
    [
        (JSON, b'{"open": [1, null, true]}', {"open": [1, None, True]}),
        ({"Content_Type": "application/problem+json"}, b'"x"', "x"),
        ({}, "ü\x00".encode(), "ü"),
        ({"Content_Type": "text/plain; charset=latin-1"}, "ü".encode("latin-1"), "ü"),
        ({"Content_Type": "text/plain; charset=nothere"}, "ü\xff".encode("latin-1"), "��"),
        ({**JSON, "Content_Encoding": "gzip"}, gzip.compress(b"[7]", mtime=0), [7]),
        (JSON, b"", None),
    ],
)
def test_an_answer_is_kept_where_that_is_asked_for(shop: HttpService, headers: dict[str, str], body: bytes, kept: Any) -> None:
    shop.says(200, body, **headers)
    assert call() == {"status": 200}
    assert call(keep_answer=True) == {"status": 200, "body": kept}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "Expecting value"),
        (b'{"a": NaN}', "NaN is not a number that JSON knows"),
        (b'{"a": 1, "a": 2}', "is given twice"),
        (b'{"a": "\\u0000"}', "at 'a' that cannot be stored"),
        (b"[" * 50 + b"]" * 50, "that cannot be stored"),
        (b"[" * 200_000, "it is nested too deep"),
    ],
)
def test_garbage_is_told_and_not_kept(shop: HttpService, body: bytes, why: str) -> None:
    shop.says(200, body, **JSON)
    assert call() == {"status": 200}
    with pytest.raises(RemoteCallError, match=f"answered 200 with what is not the JSON that it says it is .*{why}") as caught:
        call(keep_answer=True)
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_says_what_the_service_answered(shop: HttpService, status: int) -> None:
    shop.says(status, b'{"detail":\n "no such order\x1b[31m"}' + b"x" * 5_000, Retry_After="30")
    with pytest.raises(RemoteCallError) as caught:
        call("orders/7")
    said = str(caught.value)
    assert said.startswith(f"GET /orders/7 of the connection shop answered {status} ")
    assert "asks to wait (Retry-After: 30), and 200 to 299 is expected: " in said
    assert 'no such order\\x1b[31m"}' in said
    assert len(said) < 1_500
    assert caught.value.status_code == status


def test_statuses_that_are_expected(shop: HttpService) -> None:
    shop.says(404)
    assert call(expected_status=[200, 404]) == {"status": 404}
    shop.says(201)
    with pytest.raises(RemoteCallError, match="answered 201 Created, and 200, 404 is expected: it says nothing else"):
        call(expected_status=[200, 404])


def test_a_redirect_is_told_and_not_followed(shop: HttpService) -> None:
    shop.says(307, Location=f"http://localhost:{shop.port}/elsewhere?token=abc")
    with pytest.raises(RemoteCallError, match=r"leads to http://localhost:\d+/elsewhere, where nothing was sent") as caught:
        call()
    assert "abc" not in str(caught.value)
    assert len(shop.asked) == 1


def test_what_follows_a_redirect_that_cannot_be_decoded_is_not_read(shop: HttpService) -> None:
    def endless(handler: Any, _asked: Asked) -> None:
        handler.send_response(302)
        for name, value in (("Location", "/x"), ("Content-Encoding", "gzip"), ("Content-Length", "1000000")):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(b"no gzip" * 10_000)
        shop.over.wait()

    shop.answer = endless
    with pytest.raises(RemoteCallError, match="answered 302 Found, leads to /x, where nothing was sent"):
        call()


@pytest.mark.parametrize("headers", [{}, {"Content_Encoding": "gzip"}])
def test_a_longer_answer_is_left(shop: HttpService, headers: dict[str, str]) -> None:
    body = b"x" * 100_000
    shop.says(200, gzip.compress(body, mtime=0) if headers else body, **headers)
    with pytest.raises(RemoteCallError, match="answered with more than 99999 bytes. Raise max_answer_bytes, or ask for less"):
        call(max_answer_bytes=99_999)
    assert call(max_answer_bytes=100_000, keep_answer=True)["body"] == body.decode()


def test_a_service_that_never_answers(shop: HttpService) -> None:
    shop.answer = lambda _handler, _asked: shop.over.wait()  # type: ignore[assignment]
    with pytest.raises(RemoteCallError, match=r"was not answered: there was no whole answer within 0.5 s.$"):
        call(response_timeout=0.5)
    with pytest.raises(RemoteCallError, match="within 0.5 s. It may have been carried out all the same.$"):
        call(method="POST", response_timeout=0.5)


def test_a_service_that_drips(shop: HttpService) -> None:
    """Each byte comes in time for a timeout of requests, and the whole never."""
    gone = []

    def drip(handler: Any, _asked: Asked) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        try:
            while not shop.over.wait(0.05):
                handler.wfile.write(b"x")
        except OSError:
            gone.append(True)
            shop.over.set()

    shop.answer = drip
    with pytest.raises(RemoteCallError, match="there was no whole answer within 1 s"):
        call(response_timeout=1.0)
    assert shop.over.wait(30)
    assert gone, "the connection was broken off"


def test_an_answer_that_breaks_off(shop: HttpService) -> None:
    def half(handler: Any, _asked: Asked) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"half")

    shop.answer = half
    with pytest.raises(RemoteCallError, match="DELETE /orders .* was not answered: .* It may have been carried out all the same"):
        call(method="DELETE")


def test_a_service_that_is_not_there(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.close()
    with pytest.raises(RemoteCallError, match=r"POST /orders of .* was not answered: ConnectionError: .*refused.$") as caught:
        call(method="POST", query_parameters={"q": "of_query"})
    assert "of_query" not in str(caught.value)
    assert not caught.value.maybe_done


class TestSecrets:
    """What is secret in the connection is sent, and found nowhere else."""

    PASSWORD, KEY, TOKEN = 'pass/"wörd"', "key-of-the-shop", "token+of/the=shop"

    @pytest.fixture(autouse=True)
    def _connection(self, shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
        extra = {"X-Api-Key": self.KEY, "X-Auth": f"Bearer {self.TOKEN}", "Accept": "application/json", "timeout": 12345}
        connect(monkeypatch, shop, login="me", password=self.PASSWORD, extra=json.dumps(extra))

    @property
    def basic(self) -> str:
        return base64.b64encode(f"me:{self.PASSWORD}".encode("latin-1")).decode()

    def _echo(self, handler: Any, asked: Asked, status: int = 200) -> None:
        told = {**asked.headers, "pass": self.PASSWORD, self.KEY: [self.TOKEN], "accept": asked.headers["accept"]}
        say(handler, status, json.dumps(told).replace("/", "\\/").encode(), **JSON)

    def _none_in(self, text: str) -> None:
        for secret in (self.PASSWORD, json.dumps(self.PASSWORD)[1:-1], self.KEY, self.TOKEN, self.basic):
            assert secret not in text
            assert secret.replace("/", "\\/") not in text

    def test_they_are_sent(self, shop: HttpService) -> None:
        call()
        headers = shop.asked[0].headers
        assert headers["authorization"] == f"Basic {self.basic}"
        assert headers["x-api-key"] == self.KEY

    def test_they_are_not_kept(self, shop: HttpService) -> None:
        shop.answer = self._echo
        kept = call(keep_answer=True)
        self._none_in(json.dumps(kept, ensure_ascii=False))
        assert kept["body"]["accept"] == "application/json"
        assert kept["body"]["authorization"] == "Basic ***"
        assert kept["body"]["***"] == ["***"]

    def test_they_are_in_no_error_and_no_log(self, shop: HttpService, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        shop.answer = lambda handler, asked: self._echo(handler, asked, 403)
        with pytest.raises(RemoteCallError) as caught:
            call()
        self._none_in(str(caught.value))
        self._none_in(caplog.text)

    def test_airflow_knows_them(self, shop: HttpService) -> None:
        from provider.airflow_internals.secrets import redact

        call()
        assert redact(f"a {self.KEY} b {self.TOKEN} c {self.basic}") == "a *** b *** c ***"

    @pytest.mark.parametrize(
        ("fields", "refused"),
        [
            ({"host": "shop.example"}, True),
            ({"host": "shop.example", "schema": "http"}, False),
            ({"host": "http://shop.example"}, False),
            ({"host": "shop.example", "password": "", "login": "", "extra": None}, False),
        ],
    )
    def test_they_are_not_sent_in_clear_by_default(
        self, shop: HttpService, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], refused: bool
    ) -> None:
        given = {"login": "me", "password": self.PASSWORD, **fields}
        connect(monkeypatch, shop, **given)
        monkeypatch.setattr("provider.hooks.http_request._exchange", lambda *_: (_ for _ in ()).throw(OSError("sent")))
        expected: tuple[Any, str] = (RemoteCallError, "OSError: sent")
        if refused:
            expected = (AirflowFailException, "connection shop has a secret and says neither http nor https")
        with pytest.raises(expected[0], match=expected[1]):
            call()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"endpoint": "a/{b}"}, r"\{b\} has no value in path_parameters"),
        ({"path_parameters": {"b": "x"}}, r"\{b\} is in path_parameters, and not in endpoint"),
        (
            {"endpoint": "a/{b}", "path_parameters": {"b": ""}},
            "path_parameters.b is empty, so the request would go to another path",
        ),
        ({"endpoint": "a/{b}", "path_parameters": {"b": ".."}}, "can be taken for another one; nothing was sent"),
        ({"endpoint": "a/{b}", "path_parameters": {"b": "%2e%2e/x"}}, "can be taken for another one; nothing was sent"),
        ({"endpoint": "a?b=1"}, "what follows a . is written in query_parameters"),
        ({"endpoint": "https://elsewhere.example/"}, "endpoint is a path behind the address of the connection"),
        ({"endpoint": "//elsewhere.example/"}, "endpoint is a path behind the address of the connection"),
        ({"endpoint": "a/{b"}, "has a brace that belongs to no placeholder"),
        ({"headers": {"authorization": "x"}}, "authorization carries a secret; put it into the connection"),
        ({"headers": {"Host": "x"}}, "Host is set by the connection itself; leave it out"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "The header X-A has a value that HTTP does not carry"),
        ({"headers": {"X A": "a"}}, "'X A' is no name of a header"),
        ({"json": {}}, "json: a GET request has no body"),
        ({"json": {}, "data": "x", "method": "POST"}, "give json or data, not both"),
        ({"keep_answer": True, "max_answer_bytes": 2**20 + 1}, "an answer that is kept has at most 1048576 bytes"),
    ],
)
def test_what_cannot_be_right_is_not_tried_again(shop: HttpService, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        call(**{"endpoint": "orders", **arguments})
    assert shop.asked == []


def test_a_connection_without_a_host(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, shop, host=None)
    with pytest.raises(AirflowFailException, match="The connection shop has no host; give it one such as https://"):
        call()


def test_without_the_package(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    from dag_factory.task_types.http import TASK_TYPE

    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    said = (
        "need the package apache-airflow-providers-http, which is not installed here. Install airflow-provider-cloud-accelerator"
    )
    with pytest.raises(AirflowFailException, match=said):
        call()
    with pytest.raises(ConfigurationError, match=said):
        TASK_TYPE.operator(TASK_TYPE.config_model(endpoint="x"))  # type: ignore[call-arg]
    assert shop.asked == []


def test_a_proxy_of_the_connection_is_used(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's are, too; that is the hook's."""
    extra = {"proxies": {"http": f"http://me:word-of-proxy@127.0.0.1:{shop.port}"}}
    connect(monkeypatch, shop, host="http://shop.example", port=None, extra=json.dumps(extra))
    call()
    (asked,) = shop.asked
    assert asked.target == "http://shop.example/orders"
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    shop.says(502, b"word-of-proxy is wrong")
    with pytest.raises(RemoteCallError, match=r"502 Bad Gateway, .*: \*\*\* is wrong"):
        call()
