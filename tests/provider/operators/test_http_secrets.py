"""What is secret is in nothing that a service sends back, however it writes it; and what is not secret is as it was."""

from __future__ import annotations

import base64
import html
import json
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from provider.hooks.http_secrets import Secrets
from provider.hooks.remote_job import RemoteCallError
from tests.provider.operators.http_service import HttpService, call, connect, say, say_raw

JSON = {"Content_Type": "application/json"}
HARD = "pä\"ss' w&rd<\\/+\x1b1!"


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode("latin-1")).decode()


@pytest.mark.parametrize(
    "written",
    [
        HARD,
        json.dumps(HARD),
        json.dumps(HARD, ensure_ascii=False).replace("/", "\\/"),
        json.dumps(HARD).replace("+", "\\u002B").replace("&", "\\u0026").replace("<", "\\u003C").replace("'", "\\u0027"),
        repr(HARD),
        repr(HARD.encode()),
        repr(HARD.encode("latin-1")),
        HARD.encode().decode("latin-1"),
        quote(HARD),
        quote(HARD, safe="").lower(),
        quote(HARD, encoding="latin-1"),
        quote_plus(HARD),
        html.escape(HARD),
        html.escape(HARD, quote=False),
        html.escape(HARD).replace("&#x27;", "&apos;").replace("&quot;", "&#34;").replace("ä", "&auml;"),
    ],
)
def test_each_way_to_write_one(written: str) -> None:
    said = Secrets([HARD, f"{HARD}\n"]).out_of(f"<{written}>")
    assert said.replace("'", '"') in ("<***>", '<"***">', '<b"***">')


@pytest.mark.parametrize("text", ["\\" * 40 + "x", "\\\\%" * 20 + "x", '&amp;%25"' * 20, " +" * 20])
def test_one_that_could_be_written_in_many_ways_takes_no_time(text: str) -> None:
    secrets = Secrets([text])
    begin = time.monotonic()
    for written in (text, json.dumps(text), quote(text), html.escape(text), repr(repr(text))):
        assert text not in secrets.out_of(written + text[:-1] * 100)
        assert "***" in secrets.out_of(written)
    assert time.monotonic() - begin < 5


def test_what_is_none_stays() -> None:
    assert Secrets(["abcd", ""]).out_of({"abcd": ["abcd", 1, None]}) == {"abcd": ["abcd", 1, None]}
    assert Secrets(["pa.s+word"]).out_of("paxs+word pa.sword PA.S+WORD") == "paxs+word pa.sword PA.S+WORD"


def test_one_that_is_a_number_may_come_as_one() -> None:
    said = Secrets(["123456", "1234.5"]).out_of([123456, 1234.5, 1234567, {"pin": 123456}])
    assert said == ["***", "***", 1234567, {"pin": "***"}]


@pytest.mark.parametrize(
    ("extra", "answer"),
    [
        ({"X-Dry-Run": "false"}, {"open": False, "said": "false alarm"}),
        ({"X-Null": "null ", "X-True": "True"}, {"n": None, "true": True}),
        ({"X-Tenant": "12345"}, {"n": 12345, "tenant": "12345", "more": 9123459}),
        ({"X-Tenant": "1234.5"}, {"n": 1234.5}),
        ({"X-Limit": "Kilo 12345"}, {"n": "12345"}),
    ],
)
def test_a_good_answer_is_kept_as_it_is(shop: HttpService, monkeypatch: pytest.MonkeyPatch, extra: Any, answer: Any) -> None:
    connect(monkeypatch, shop, extra=extra)
    shop.says(200, json.dumps(answer).encode(), **JSON)
    assert call(method="POST", json={}, keep_answer=True)["body"] == answer


def test_secrets_leave_json_as_it_is(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken out of the text, each of these would break it, or make another of it."""
    connect(monkeypatch, shop, login="me", password='": [1', extra={"X-Api-Key": "12345", "X-Auth": "false"})
    shop.says(200, b'{"a": [12345, false, 1], "key": "is 12345"}', **JSON)
    assert call(keep_answer=True)["body"] == {"a": ["***", False, 1], "key": "is ***"}


def test_the_head_of_an_answer_is_cleaned(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, shop, extra={"X-Api-Key": "s3cr3t-pässword"})
    head = "HTTP/1.1 401 bad s3cr3t-pässword\r\nRetry-After: s3cr3t-pässword\r\nLocation: http://x/s3cr3t-p%C3%A4ssword\r\n"
    shop.answer = say_raw(f"{head}Content-Length: 0\r\n\r\n".encode())
    with pytest.raises(RemoteCallError) as caught:
        call()
    said = str(caught.value)
    assert "answered 401 bad ***, leads to http://x/***, where nothing was sent, asks to wait (Retry-After: ***), and" in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("https://a.example/cb#access_token=TOKEN", "https://a.example/cb"),
        ("https://a.example/cb?token=TOKEN#TOKEN", "https://a.example/cb"),
        ("https://me:TOKEN@a.example/cb", "https://a.example/cb"),
    ],
)
def test_a_location_is_told_without_what_may_be_secret(shop: HttpService, location: str, told: str) -> None:
    shop.says(302, Location=location)
    with pytest.raises(RemoteCallError, match=f"leads to {told}, where nothing was sent") as caught:
        call()
    assert "TOKEN" not in str(caught.value)


def _kept_of_an_echo(shop: HttpService, *more: str) -> str:
    def echo(handler: Any, asked: Any) -> None:
        say(handler, 200, json.dumps([asked.headers, *more]).encode(), **JSON)

    shop.answer = echo
    return json.dumps(call(keep_answer=True)["body"])


def test_a_password_in_the_address(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, shop, host="http://user:p%40ssword@127.0.0.1")
    kept = _kept_of_an_echo(shop, "p@ssword", "p%40ssword")
    assert shop.asked[0].headers["authorization"] == f"Basic {basic('user', 'p@ssword')}"
    assert '"Basic ***"' in kept
    assert kept.endswith('"***", "***"]')


@pytest.mark.parametrize("of_the_environment", [True, False])
def test_a_password_of_a_proxy(shop: HttpService, monkeypatch: pytest.MonkeyPatch, of_the_environment: bool) -> None:
    proxy = f"http://me:pr0xy%40word@127.0.0.1:{shop.port}"
    if of_the_environment:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
    extra = {} if of_the_environment else {"proxies": {"http": proxy}}
    connect(monkeypatch, shop, host="http://shop.example", port=None, extra=extra)
    kept = _kept_of_an_echo(shop, "pr0xy@word")
    assert shop.asked[0].headers["proxy-authorization"] == f"Basic {basic('me', 'pr0xy@word')}"
    assert '"Basic ***"' in kept
    assert kept.endswith('"***"]')


def test_a_password_of_netrc(shop: HttpService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is sent where the connection has no login; that is requests'."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password w0rd-of-netrc\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    kept = _kept_of_an_echo(shop, "w0rd-of-netrc")
    assert shop.asked[0].headers["authorization"] == f"Basic {basic('me', 'w0rd-of-netrc')}"
    assert '"Basic ***"' in kept
    assert kept.endswith('"***"]')


def test_a_password_in_a_header(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, shop, extra={"Authorization": f"Basic {basic('me', 'w0rd-of-header')} "})
    assert _kept_of_an_echo(shop, "w0rd-of-header").endswith('"***"]')


def test_the_parts_of_a_structured_header(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, shop, extra={"Authorization": 'Signature keyId="open-sesame", signature="c2lnbmVk"'})
    shop.says(200, b'{"key": "open-sesame", "signed": "c2lnbmVk", "who": "Signature"}', **JSON)
    assert call(keep_answer=True)["body"] == {"key": "***", "signed": "***", "who": "Signature"}


@pytest.mark.parametrize("broken", ["refused", "closed", "bad headers"])
def test_a_query_is_in_no_log(
    shop: HttpService, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    caplog.set_level(logging.DEBUG)
    if broken == "refused":
        shop.close()
    elif broken == "closed":
        shop.answer = lambda _handler, _asked: None
    else:
        shop.answer = say_raw(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n")
    told = ""
    try:
        call(method="POST", json={}, query_parameters={"api_key": "QUERYSECRET"})
    except RemoteCallError as error:
        told = str(error)
    assert bool(told) == (broken != "bad headers")
    logged = caplog.text + "".join(capsys.readouterr())
    assert "QUERYSECRET" not in told + logged
    assert "will retry" not in logged


def test_a_long_secret_is_taken_out_before_an_error_is_cut(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "eyJ" + "A1b2C3d4" * 60
    connect(monkeypatch, shop, extra={"Authorization": f"Bearer {token}"})
    shop.answer = say_raw(f"no HTTP, but {token}\r\n".encode())
    with pytest.raises(RemoteCallError, match=r"was not answered: .*no HTTP, but \*\*\*") as caught:
        call()
    assert "A1b2" not in str(caught.value)
