"""Answers that are odd: whether the request may have been carried out is told as it was, and no text holds the worker."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from provider.hooks.remote_job import RemoteCallError
from tests.provider.operators.http_service import HttpService, call, connect, say_raw

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "undefined", "ut\0f", "utf-7", "unicode_escape", "rot13", "zlib", "nothere"]
)
def test_an_encoding_of_no_text_is_not_used(shop: HttpService, charset: str) -> None:
    body = b"-" + b"a" * 400_000
    kind = f"Content-Type: text/plain; charset={charset}\r\n".encode()
    shop.answer = say_raw(OK + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    begin = time.monotonic()
    assert call(method="POST", json={}, keep_answer=True, response_timeout=20.0) == {"status": 200, "body": body.decode()}
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        *((one, one) for one in ("utf-8", "UTF-16", "utf-16-le", "utf-32", "latin1", "ISO-8859-15", "windows-1252", "cp850")),
        *((one, one) for one in ("koi8-r", "mac-roman")),
        ('"utf-8"', "utf-8-sig"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_encodings_of_texts(shop: HttpService, charset: str, encoding: str) -> None:
    text = "Привет" if charset == "koi8-r" else "ü"
    shop.says(200, text.encode(encoding), Content_Type=f"text/plain; charset={charset}")
    assert call(keep_answer=True)["body"] == text


@pytest.mark.parametrize("charset", ["shift_jis", "gb18030", "gbk", "euc-jp", "euc-kr", "big5", "iso-2022-jp"])
def test_encodings_of_texts_of_the_east(shop: HttpService, charset: str) -> None:
    text = "한국" if charset == "euc-kr" else "日本"
    shop.says(200, text.encode(charset), Content_Type=f"text/plain; charset={charset}")
    assert call(keep_answer=True)["body"] == text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_with_a_mark_of_its_order(shop: HttpService, encoding: str) -> None:
    charset = encoding.removesuffix("-sig")
    shop.says(200, '{"a": "ü"}'.encode(encoding), Content_Type=f"application/json; charset={charset}")
    assert call(method="POST", json={}, keep_answer=True)["body"] == {"a": "ü"}
    shop.says(200, b'\xef\xbb\xbf{"a": 1}', Content_Type="application/json")
    assert call(method="POST", json={}, keep_answer=True)["body"] == {"a": 1}


@pytest.mark.parametrize("location", ["http://[bad/", "http://", "//", "http://127.0.0.1:99999/", "\xff\xfe", "http://x\x7f"])
@pytest.mark.parametrize("most", [30, 0])
def test_a_redirect_to_nowhere_is_an_answer(shop: HttpService, monkeypatch: pytest.MonkeyPatch, location: str, most: int) -> None:
    connect(monkeypatch, shop, extra={"max_redirects": most})
    shop.answer = say_raw(f"HTTP/1.1 303 See Other\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
    with pytest.raises(RemoteCallError, match="answered 303 See Other, leads to .*, where nothing was sent") as caught:
        call(method="POST", json={})
    assert caught.value.status_code == 303
    assert call(method="POST", json={}, expected_status=[303]) == {"status": 303}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 201 Created\r\nContent-Length: 7, 6\r\n\r\n1234567",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno",
    ],
)
def test_an_answer_that_cannot_be_read(shop: HttpService, answer: bytes) -> None:
    shop.answer = say_raw(answer)
    said = (
        "POST /orders of the connection shop was answered with what cannot be read: .* It may have been carried out all the same"
    )
    with pytest.raises(RemoteCallError, match=said) as caught:
        call(method="POST", json={})
    assert caught.value.maybe_done
    with pytest.raises(RemoteCallError, match="was answered with what cannot be read") as caught:
        call()
    assert not caught.value.maybe_done


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": "https://127.0.0.1", "extra": {"verify": "/not/there.pem"}}, "invalid path: /not/there.pem"),
        ({"host": "https://127.0.0.1", "extra": {"cert": ["/not/there.pem", "/nor.key"]}}, "invalid path: /not/there.pem"),
        ({"host": "https://127.0.0.1"}, "SSLError"),
        ({"host": "http://shop.example", "port": None, "extra": {"proxies": {"http": "http://127.0.0.1:9"}}}, "ProxyError"),
        ({"host": "https://shop.example", "port": None, "extra": {"proxies": {"https": "PROXY"}}}, "ProxyError: .*Tunnel"),
        ({"host": "_http._tcp.shop.invalid", "port": None, "extra": {"srv_lookup": True}}, "HttpSrvLookupException"),
    ],
)
def test_what_was_never_sent_is_told_so(
    shop: HttpService, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], said: str
) -> None:
    """No certificate, no TLS, no proxy, one that opens no tunnel, and no host."""
    proxies = fields.get("extra", {}).get("proxies", {})
    if proxies.get("https") == "PROXY":
        proxies["https"] = f"http://127.0.0.1:{shop.port}"
    connect(monkeypatch, shop, **fields)
    with pytest.raises(RemoteCallError, match=f"was not answered: .*{said}") as caught:
        call(method="POST", json={})
    assert "may have been carried out" not in str(caught.value)
    assert not caught.value.maybe_done
    assert [one for one in shop.asked if one.method == "POST"] == []


def test_a_name_that_is_looked_up_for_ever(shop: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, shop, host="http://shop.example", port=None)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: shop.over.wait() and [])
    with pytest.raises(RemoteCallError, match=r"was not answered: there was no whole answer within 0.5 s\.$") as caught:
        call(method="POST", json={}, response_timeout=0.5)
    assert not caught.value.maybe_done
