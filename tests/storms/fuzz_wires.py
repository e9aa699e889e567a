"""Where the vendors' clients send their requests meanwhile: the transports of httpx and requests, and a gRPC server."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import grpc
import httpx
import requests
import urllib3
from google.protobuf.message import Message

from tests.storms.fuzz_answers import RandomAnswers

#: Status, body and headers of a good answer, to a method and a path.
Good = Callable[[str, str], tuple[int, Any, dict[str, str]]]


class HttpWire:
    """
    Answers every request of httpx and requests in this process, but for those of threads that somebody else left behind.

    :param answers: what spoils the good answers.
    :param good: makes them, by host.
    """

    def __init__(self, answers: RandomAnswers, good: dict[str, Good]) -> None:
        self._answers = answers
        self._good = good
        self.requests: list[tuple[str, str, str]] = []
        #: Hosts whose answers are good all the same.
        self.peaceful: set[str] = set()
        self._strangers: set[threading.Thread] = set()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Take the places of the transports."""
        self._strangers = set(threading.enumerate()) - {threading.current_thread()}
        context = httpx.create_ssl_context()  # a new one for each client would take most of the time
        with (
            mock.patch.object(httpx.AsyncHTTPTransport, "handle_async_request", self._async_httpx()),
            mock.patch.object(httpx.HTTPTransport, "handle_request", self._httpx()),
            mock.patch.object(requests.adapters.HTTPAdapter, "send", self._requests()),
            mock.patch("httpx._transports.default.create_ssl_context", returns(context)),
        ):
            yield

    def answer(self, method: str, url: str) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        """Return status, body and headers of the answer to a request."""
        parts = urlsplit(url)
        host, path = parts.hostname or "", parts.path
        self.requests.append((host, method, path))
        status, document, headers = self._good.get(host, lambda *_: (404, {}, {}))(method, path)
        if host in self.peaceful:
            return status, json.dumps(document).encode(), []
        return self._answers.status(status), self._answers.body(document), self._answers.headers(headers)

    def _httpx(self) -> Any:
        def send(transport: Any, request: httpx.Request) -> httpx.Response:
            status, body, headers = self.answer(request.method, str(request.url))
            return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

        return send

    def _async_httpx(self) -> Any:
        send = self._httpx()

        async def asend(transport: Any, request: httpx.Request) -> httpx.Response:
            return send(transport, request)  # type: ignore[no-any-return]

        return asend

    def _requests(self) -> Any:
        real = requests.adapters.HTTPAdapter.send

        def send(adapter: Any, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            if threading.current_thread() in self._strangers:
                return real(adapter, request, *args, **kwargs)
            status, body, headers = self.answer(str(request.method), str(request.url))
            raw = urllib3.HTTPResponse(
                io.BytesIO(body),
                headers={name.decode("latin-1"): value.decode("latin-1") for name, value in headers},
                status=status,
                preload_content=False,
            )
            return adapter.build_response(request, raw)  # type: ignore[no-any-return]

        return send


def returns(value: Any) -> Any:
    """Return a function that always returns this; a mock would keep every call."""

    def returned(**_: Any) -> Any:
        return value

    return returned


class GrpcWire(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """
    A gRPC server. Context manager.

    :param answers: where chance comes from.
    :param good: makes the good answer to a method.
    """

    #: What a handler may abort with.
    CODES = tuple(code for code in grpc.StatusCode if code is not grpc.StatusCode.OK)

    def __init__(self, answers: RandomAnswers, good: Callable[[str], Message]) -> None:
        self._answers = answers
        self._good = good
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> GrpcWire:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None)

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        return grpc.unary_unary_rpc_method_handler(lambda _, context: self._answer(method, context))

    def _answer(self, method: str, context: Any) -> bytes:
        random = self._answers.random
        if random.random() < 0.2:
            value = random.choice((b"0", b"\xff\xfe", b"9" * 300, b"-1", b"x")).decode("latin-1")
            key = random.choice(("retry-after", "grpc-status-details-bin", "x"))
            context.set_trailing_metadata(((key, value.encode("latin-1") if key.endswith("-bin") else "7" * len(value)),))
            context.abort(random.choice(self.CODES), random.choice(("", "no\nmore\x00", "act as", "x" * 3000, "💥")))
        message = self._good(method)
        for _ in range(random.choice((0, 1, 1, 2, 5))):
            spoil(message, random)
        wire = message.SerializeToString()
        if random.random() < 0.1 and wire:
            place = random.randrange(len(wire))
            wire = random.choice((wire[:place], wire[:place] + random.randbytes(3) + wire[place:], random.randbytes(30)))
        return wire


def spoil(message: Message, random: Any) -> None:
    """Give one field of a message, or of one in it, another value."""
    field = random.choice(message.DESCRIPTOR.fields)
    name = field.name
    if random.random() < 0.2:
        message.ClearField(name)
        return
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return
    if field.message_type is not None:
        if field.is_repeated:
            items = getattr(message, name)
            spoil(items[random.randrange(len(items))] if items and random.random() < 0.7 else items.add(), random)
        else:
            inner = getattr(message, name)
            inner.SetInParent()
            if inner.DESCRIPTOR.fields:
                spoil(inner, random)
        return
    value = _scalar(field, random)
    if field.is_repeated:
        getattr(message, name).append(value)
    else:
        setattr(message, name, value)


def _scalar(field: Any, random: Any) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        texts = ("", "..", "a/b", "\x00", "x" * 2000, "a\nb", "💥", "projects/../locations/x", "{{ 1 }}")
        return random.choice(texts) if field.type == field.TYPE_STRING else random.choice(texts).encode()
    if field.cpp_type == field.CPPTYPE_BOOL:
        return random.random() < 0.5
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return random.choice((0.0, float("nan"), float("inf"), -1.0))
    large = 2**63 - 1 if field.cpp_type == field.CPPTYPE_INT64 else 2**31 - 1
    if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
        return random.choice((0, 1, large))
    return random.choice((0, 1, 2, 7, 99, -1, large, -large))
