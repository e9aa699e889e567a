"""Answers that no well-behaved service sends: each ends as one error, within the time and the memory that a call may take."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from provider.hooks.remote_job import RemoteCallError
from tests.provider.defects.hostile_world import COMPLETED, JOB, hook
from tests.provider.defects.raw_server import RawServer, Wire, http
from tests.provider.defects.refresh_service import BY_ID, OURS
from tests.provider.operators.powerbi_world import enhanced

pytestmark = pytest.mark.timeout(120)


def failure(power_bi: Any, answer: bytes) -> RemoteCallError:
    """Return the error of a look at a refresh where the service answers everything with the same."""
    power_bi(lambda method, path, headers: answer)
    with pytest.raises(RemoteCallError) as raised:
        hook().status(JOB)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 3000
    return raised.value


# Size.


def gzipped(start: bytes, filling: bytes, end: bytes) -> bytes:
    """Return a gigabyte that travels as one megabyte."""
    gzip = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    parts = [gzip.compress(start), *(gzip.compress(filling) for _ in range(1024)), gzip.compress(end), gzip.flush()]
    return b"".join(parts)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return gzipped(b'{"value":[]', b" " * 2**20, b"}")


def twice(bomb: bytes) -> bytes:
    gzip = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return gzip.compress(bomb) + gzip.flush()


@pytest.mark.parametrize("layers", [1, 2])
def test_gzip_that_becomes_a_gigabyte(power_bi, bomb, layers):
    """Nor in layers: a header may name several."""
    body = bomb if layers == 1 else twice(bomb)
    longest = 2**20
    answer = http(200, body, Content_Encoding=", ".join(["gzip"] * layers))
    power_bi(lambda method, path, headers: answer)
    service = hook(body=longest)
    with pytest.raises(RemoteCallError):
        service.status(JOB)  # whatever is imported and built at the first call does not count below

    tracemalloc.start()
    try:
        with pytest.raises(RemoteCallError, match=f"more than {longest} bytes" if layers == 1 else "which was not asked for"):
            service.status(JOB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 16 * longest


def test_gzip_that_is_honest_is_read(power_bi):
    gzip = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    body = gzip.compress(b'{"status": "Completed"}') + gzip.flush()
    power_bi(lambda method, path, headers: http(200, body, Content_Encoding="gzip"))

    assert hook().status(JOB).state == "done"


def test_body_without_an_end(power_bi):
    server: RawServer = power_bi(lambda method, path, headers: b"")

    def endless() -> Iterator[bytes]:
        for _ in server.drip(b"", every=0.0):
            yield b" " * 65536

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Wire:
        return (piece for part in ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"], endless()) for piece in part)

    server.answer = answer

    with pytest.raises(RemoteCallError, match="more than 1048576 bytes"):
        hook(body=2**20).status(JOB)


# Shape.

DEEP = 200_000
NESTED = b'{"error":'


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b"[" * DEEP,
        b"[]",
        b"",
        b"{}"[:1],
        b"<html>no</html>",
        b"\xff\xfe{\x00",
        b'{"a": NaN',
        b'{"status": "Completed", "objects": ' + b"[" * 300 + b"]" * 300 + b"}",
    ],
    ids=lambda body: str(body[:12]),
)
def test_answer_of_success_that_is_no_answer(power_bi, body):
    error = failure(power_bi, http(200, body))

    assert "answered 200 with something that is no JSON object" in str(error)
    assert error.retryable


@pytest.mark.parametrize("depth", [60, 300, 900, 3000, DEEP])
@pytest.mark.parametrize("status", [400, 500])
def test_error_that_is_nested(power_bi, depth, status):
    error = failure(power_bi, http(status, NESTED * depth + b"1" + b"}" * depth))

    assert f"answered {status}" in str(error)


@pytest.mark.parametrize("depth", [10, 300, 900, 3000, DEEP])
def test_failure_of_a_refresh_that_is_nested(power_bi, depth):
    text = (NESTED * depth + b"1" + b"}" * depth).decode()
    power_bi(lambda method, path, headers: http(200, {"status": "Failed", "serviceExceptionJson": text}))

    status = hook().status(JOB)

    assert status.state == "failed"
    assert "ended as Failed" in status.error


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirect_is_not_followed(power_bi, life, status, method):
    """It would carry the token to wherever the answer says."""
    with RawServer(lambda method, path, headers: COMPLETED) as elsewhere:
        moved = http(status, Location=f"{elsewhere.url}/steal")
        no_refreshes = http(200, {"value": []})
        power_bi(lambda asked, path, headers: moved if asked == method else no_refreshes)

        with pytest.raises(Exception, match=f"answered {status}"):
            life(lambda: enhanced(**BY_ID)).run()

    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (304, {}),
        (204, {}),
        (500, {"Content_Type": "text/html; charset=foo"}),
        (500, {"Content_Type": "text/html; charset=hex"}),
        (500, {"Content_Type": b"\xff\xfe; charset=\xb2"}),
        (500, {"RequestId": "r" * 50_000}),
        (500, {"RequestId": b"\xb2\xff"}),
        (200, {"Content_Encoding": "gzip"}),
        (200, {"Content_Encoding": "deflate"}),
        (200, {"Content_Encoding": "br"}),
        (200, {"Content_Encoding": b"\xb2"}),
        (500, {"Date": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}),
        (999, {}),
    ],
    ids=str,
)
def test_odd_answers_are_one_error(power_bi, status, headers):
    body = b"" if status in (204, 304) else b"\xff\xfezz"

    failure(power_bi, http(status, body, **headers))


@pytest.mark.parametrize(
    "date",
    [
        b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        b"\xb2",
        b"Mon, 01 Jan 0000 00:00:00 GMT",
        b"-1",
        b"Fri, 31 Dec 9999 23:59:59 -2359",
    ],
    ids=ascii,
)
def test_bad_date_header(power_bi, life, date):
    """The service's clock tells which refreshes are new: one that cannot be read tells nothing."""
    started: list[dict[str, Any]] = []

    def answer(method: str, path: str, headers: Mapping[str, str]) -> bytes:
        if method == "POST":
            started.append({"requestId": OURS, "refreshType": "ViaEnhancedApi", "status": "Completed"})
            return http(202, Date=date)  # it names no refresh
        return http(200, {"value": started}, Date=date) if "?" in path else http(200, {"status": "Completed"}, Date=date)

    power_bi(answer)

    assert life(lambda: enhanced(**BY_ID)).run()["id"] == OURS
    assert len(started) == 1


# Secrets.


def echo(text: str) -> Callable[..., bytes]:
    """Answer with whatever token came, in several places."""

    def answer(method: str, path: str, headers: Mapping[str, str]) -> bytes:
        token = headers["authorization"].removeprefix("Bearer ")
        escaped = "".join(f"\\u{ord(letter):04x}" for letter in token)
        shown = text.replace("TOKEN", token).replace("ESCAPED", escaped)
        return http(500, shown.encode(), RequestId=token)

    return answer


@pytest.mark.parametrize(
    "text", ["proxy says: Authorization: Bearer TOKEN", '{"error": {"message": "it is ESCAPED"}}', "TOKEN" * 3]
)
def test_token_is_masked(power_bi, text):
    server: RawServer = power_bi(echo(text))
    tokens: list[str] = []
    inner = server.answer

    def noting(method: str, path: str, headers: Mapping[str, str]) -> Wire:
        tokens.append(headers["authorization"].removeprefix("Bearer "))
        return inner(method, path, headers)

    server.answer = noting
    with pytest.raises(RemoteCallError, match=r"answered 500: .*\*\*\*") as raised:
        hook().status(JOB)

    assert tokens
    assert all(token not in str(raised.value) and token[:40] not in str(raised.value) for token in tokens)


@pytest.mark.parametrize("status", [500, 403, 200])
def test_old_token_is_masked_after_a_renewal(power_bi, status):
    """The service refuses a token for its age, and its answer to the next one still shows the first."""
    tokens: list[str] = []

    def answer(method: str, path: str, headers: Mapping[str, str]) -> bytes:
        token = headers["authorization"].removeprefix("Bearer ")
        if token not in tokens:
            tokens.append(token)
        if len(tokens) == 1:
            return http(403, {"error": {"code": "TokenExpired"}})
        text = f"old {tokens[0]} new {tokens[1]}"
        return http(status, text.encode() if status == 200 else json.dumps({"error": {"message": text}}).encode())

    power_bi(answer)

    with pytest.raises(RemoteCallError) as raised:
        hook().status(JOB)

    assert len(tokens) == 2
    assert "old *** new ***" in str(raised.value)


SECRET = "eyJ-secret-of-somebody"


@pytest.mark.parametrize(
    "token", [f"{SECRET}\nX-Injected: 1", f"{SECRET}\xb2", f"{SECRET} {SECRET}", {SECRET: 1}, "", None], ids=ascii
)
@pytest.mark.parametrize("expires_in", ["3600", "soon", None, "9" * 400])
def test_token_that_cannot_be_sent_is_refused_and_not_shown(identity, token, expires_in):
    """In a header it would be an error of httpx, which shows it."""
    answer = {"access_token": token, "expires_in": expires_in, "resource": "x", "token_type": "Bearer"}
    identity.answer = lambda method, path, headers: http(200, answer, Content_Type="application/json")

    with pytest.raises(RemoteCallError, match="gave no token") as raised:
        hook().status(JOB)

    assert SECRET not in str(raised.value)
