"""Answers that a service may give by mistake, or on purpose: good ones with something wrong in them, and pure rubbish."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from random import Random
from typing import Any

#: Stands in a document for a number that ``json`` would not write.
_HUGE = "a number with five thousand digits"

#: Values of every type, none of which anybody asked for.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 1.5, -0.0, float("inf"), float("nan"), 1e308, _HUGE),
    *("", " ", "\x00", "\x1b[2J", "\ud800", "a\nb\r\n\tc", "x" * 3000, "💥" * 50, "True", "null", "0", "-1", "1e999", "NaN"),
    *(
        ".",
        "..",
        "%2e%2e",
        "../../x",
        "a/b",
        "a\\b",
        "a?b=c#d",
        "{{ 7 * 7 }}",
        "'; drop table x; --",
        "[]",
        '{"error":{"code":[]}}',
    ),
    *(
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2024-02-30T00:00:00Z",
        "+275760-09-13",
        "2024-01-01",
        "24:00:00",
    ),
    *([], {}, [[]], [None], {"": None}, {"value": {"value": []}}, [{}] * 30, ["x", 1, {"id": []}]),
)
STATUSES = (
    200,
    200,
    200,
    200,
    200,
    200,
    201,
    202,
    204,
    301,
    307,
    400,
    400,
    401,
    403,
    404,
    404,
    408,
    409,
    410,
    429,
    500,
    502,
    503,
    599,
)
HEADERS = ("Retry-After", "Date", "Location", "RequestId", "x-ms-request-id", "Content-Type", "Set-Cookie", "WWW-Authenticate")
#: Values of headers: dates and addresses, good and bad.
HEADER_VALUES: tuple[bytes, ...] = (
    *(
        b"",
        b"0",
        b"-1",
        b"3600",
        b"1e9",
        b"\xb2",
        b"9" * 400,
        b"Mon, 01 Jan 99999999999 00:00:00 GMT",
        b"Sat, 28 Nov 2026 00:00:00 GMT",
    ),
    *(
        b"Mon, 01 Jan 0001 00:00:00 +2359",
        b"Fri, 31 Dec 9999 23:59:59 -2359",
        b"..",
        b"/../..",
        b"https://[::1",
        b"http://x:99999999/",
    ),
    *(
        b"//",
        b"a=b; expires=Fri, 99 Xxx 9999",
        b"text/html; charset=hex",
        b"\xff\xfe",
        b"http://xn--/\x7f",
        b"Bearer " + b"x" * 500,
    ),
)


class RandomAnswers:
    """
    Makes answers, all of them fixed by a seed.

    :param random: where chance comes from.
    """

    def __init__(self, random: Random) -> None:
        self.random = random

    def body(self, good: Any) -> bytes:
        """Return the body of an answer; *good* is what the service would say in peace."""
        rubbish = self.random.random()
        if rubbish < 0.03:
            return self.random.randbytes(self.random.randrange(200))
        if rubbish < 0.05:
            depth = self.random.choice((10, 40, 60, 500, 990, 5000, 100_000))
            opening, closing = self.random.choice(((b"[", b"]"), (b'{"error":', b"}"), (b'{"value":[', b"]}")))
            return opening * depth + b"1" + closing * depth
        text = self.text(self.document(good)).encode()
        if rubbish < 0.10:
            return text[: self.random.randrange(len(text) + 1)]
        if rubbish < 0.12:
            place = self.random.randrange(len(text) + 1)
            return text[:place] + self.random.randbytes(3) + text[place:]
        return text

    def text(self, document: Any) -> str:
        return json.dumps(document).replace(json.dumps(_HUGE), "9" * 5000)

    def document(self, good: Any) -> Any:
        """Return a good answer with up to four places in which it is not."""
        document = json.loads(json.dumps(good))
        for _ in range(self.random.choice((0, 1, 1, 2, 4))):
            document = self._spoiled(document)
        return document

    def odd(self) -> Any:
        """Return any value."""
        value = copy.deepcopy(self.random.choice(ODD))
        if self.random.random() < 0.1:
            for _ in range(self.random.choice((1, 3, 20, 45))):
                value = [value] if self.random.random() < 0.5 else {self.random.choice(("error", "value", "details", "x")): value}
        return value

    def headers(self, good: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        """Return good headers, some of them spoiled, and further ones."""
        found = {name.encode(): value.encode() for name, value in good.items()}
        for _ in range(self.random.choice((0, 0, 1, 3))):
            found[self.random.choice((*HEADERS, *good)).encode()] = self.random.choice(HEADER_VALUES)
        return list(found.items())

    def status(self, good: int) -> int:
        """Return a status, more often than not the good one."""
        return good if self.random.random() < 0.6 else self.random.choice(STATUSES)

    def _spoiled(self, value: Any) -> Any:
        """Return a value with one place in it replaced, left out, repeated, or under another name."""
        if not isinstance(value, dict | list) or not value or self.random.random() < 0.1:
            return self.odd()
        key = self.random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if self.random.random() < 0.6:
            value[key] = self._spoiled(value[key])
            return value
        what = self.random.randrange(4)
        if what == 0:
            del value[key]
        elif what == 1:
            value[key] = self.odd()
        elif isinstance(value, list):
            value.extend([value[key]] * self.random.choice((1, 5, 100)))
        else:
            value[str(self.random.choice((key, "x", "error", "value")))] = value.pop(key)
        return value
