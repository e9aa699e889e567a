"""A connection that HTTP does not carry is refused before anything is sent, once, and by a message without its secrets."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.provider.operators.http_service import HttpService, call, connect

TOKEN = "eyJ" + "A1b2C3d4" * 60


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"Authorization": f"Bearer {TOKEN}\n"}, "has the header Authorization in its extra, and the value has a line break or"),
        ({"Authorization": f"\n Bearer {TOKEN}"}, "the value begins with a space or a line break; correct it there"),
        ({"Authorization": f" {TOKEN}"}, "the value begins with a space or a line break; correct it there"),
        (
            {"X-Api-Key": f"a\x1b{TOKEN}"},
            "has the header X-Api-Key in its extra, and the value has a line break or another control",
        ),
        ({"X-Api-Key": f"žluťoučký{TOKEN}"}, "the value has characters that are not in latin-1; correct it there"),
        ({"X-Api-Key": 1234567890}, "the value is no text; correct it there"),
        ({"headers": {"Authorization": f"Bearer {TOKEN}"}}, "has the header headers in its extra, and the value is no text"),
        ({"X Api Key": TOKEN}, "has 'X Api Key' in its extra, which is no name of a header"),
        (
            {"proxies": f"http://me:{TOKEN}@127.0.0.1:9"},
            "has proxies in its extra that are no object of texts; write one for each",
        ),
        ({"proxy": {"https": 7}}, "has proxies in its extra that are no object of texts; write one for each"),
        (
            {"proxies": {"http": "http://me:žluťoučký@127.0.0.1:9"}},
            "The proxy for http of the connection shop has characters that",
        ),
        ({"verify": "false"}, "has verify in its extra as a text, which names a file; write true or false without quotes"),
        ({"cert": {"file": "x"}}, "has a cert in its extra that is neither a path nor a list of two"),
        ("[1]", "has an extra that is no JSON object; write an object there"),
    ],
)
def test_an_extra_that_cannot_be_sent(
    shop: HttpService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, extra: Any, said: str
) -> None:
    connect(monkeypatch, shop, extra=extra)
    with pytest.raises(AirflowFailException, match=said) as caught:
        call(method="POST", json={})
    for told in (str(caught.value), caplog.text):
        assert not any(secret in told for secret in ("A1b2C3d4", "žluťoučký", "1234567890"))
    assert shop.asked == []


def test_an_extra_that_can_be_sent(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "X-A": "ü\tx ",
        "X-B": "",
        "User-Agent": None,
        "proxies": {"http": None},
        "verify": True,
        "timeout": 3,
        "stream": True,
    }
    connect(monkeypatch, shop, extra=extra)
    call()
    headers = shop.asked[0].headers
    assert (headers["x-a"].strip(), headers["x-b"]) == ("ü\tx", "")
    assert "requests" not in headers.get("user-agent", "")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"login": "me", "password": "žluťoučký123"},
            "The password of the connection shop has characters that are not in latin-1",
        ),
        ({"login": "ženě", "password": "x"}, "The login of the connection shop .* give the service another login or password"),
        ({"host": "http://me:%D0%BF%D0%B0%D1%80@127.0.0.1"}, "The host of the connection shop has characters that are not in"),
        (
            {"host": "http://127.0.0.1/?k=1#f"},
            r"has \?, # or \\ in its host, so that the endpoint would be no path; leave them out",
        ),
        ({"host": "127.0.0.1?k=1", "port": None}, "so that the endpoint would be no path"),
        ({"host": "http://127.0.0.1/#f"}, "so that the endpoint would be no path"),
        ({"host": "http://127.0.0.1\\v1", "port": None}, "so that the endpoint would be no path"),
        ({"host": "127.0.0.1/v1"}, "has a port, which would stand behind the path in its host; write it into the host, such as"),
        (
            {"host": "http://u:passw0rd@127.0.0.1:99999x", "port": None},
            "has a host, or a port, that cannot be read; correct them",
        ),
        ({"host": "http://u:passw0rd@[bad", "port": None}, "has a host, or a port, that cannot be read; correct them"),
        ({"host": "ftp://u:passw0rd@127.0.0.1"}, "has an address that is neither http nor https; correct it"),
        ({"host": "http://shop..example", "port": None}, r"The connection shop makes no request \(\w+: .*\); correct it"),
        ({"extra": {"proxies": {"http": "me:passw0rd@127.0.0.1:9"}}}, r"makes no request \(InvalidProxyURL: .*\); correct it"),
        ({"host": "http://"}, "has (no host; give it one|a host, or a port, that cannot be read)"),
    ],
)
def test_a_login_or_an_address_that_cannot_be_used(
    shop: HttpService, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], said: str
) -> None:
    connect(monkeypatch, shop, **fields)
    with pytest.raises(AirflowFailException, match=said) as caught:
        call(method="POST", json={})
    assert not any(secret in str(caught.value) for secret in ("passw0rd", "žlu", "%D0"))
    assert shop.asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"endpoint": "v1/{a}", "path_parameters": {"a": "\ud800"}}, r"path_parameters.a has half of a character"),
        ({"endpoint": "v1/\ud800"}, "endpoint has half of a character"),
        ({"query_parameters": {"a": ["x", "\ud800"]}}, "query_parameters has half of a character"),
        ({"query_parameters": {"\ud800": "x"}}, "query_parameters has half of a character"),
        (
            {"data": "\ud800"},
            r"data has half of a character \(a lone surrogate\), which cannot be sent: '\\ud800'. Correct where it",
        ),
        ({"data": {"a": "\ud800"}}, "data has half of a character"),
        ({"json": {"a": float("nan")}}, r"json cannot be written as JSON \(Out of range float values .*; give a text for it"),
        ({"json": {"a": object()}}, r"json cannot be written as JSON \(Object of type object is not JSON serializable"),
    ],
)
def test_what_becomes_no_octets(shop: HttpService, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        call(**{"method": "POST", **arguments})
    assert shop.asked == []
