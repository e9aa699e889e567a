"""What is secret in an Airflow connection to an HTTP service, and taking it out of whatever the service sends back."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from provider.plain_data import leaves

#: Keys of the extra that are options of the HTTP provider's hook. It makes headers of all others.
OPTIONS = frozenset(
    {
        *("allow_redirects", "cert", "check_response", "max_redirects", "proxies", "proxy", "srv_lookup", "stream", "timeout"),
        *("trust_env", "verify", "verify_ssl"),
    }
)
#: Headers that say nothing of anybody.
_OPEN = frozenset({"accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-type", "user-agent"})
#: Shorter texts are no secrets, as for Airflow's masker: of every answer single letters would be gone.
_SHORTEST = 5
#: Values of headers that are none either, unless, for a number, the header's name says so.
_WORDS = frozenset({"true", "false", "null"})
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_SAYS_SO = re.compile("auth|cookie|credential|key|pass|secret|session|sign|token", re.IGNORECASE)
#: Scheme, user and password of an address, however odd the rest is.
_USER = re.compile(r"\s*([a-z][a-z0-9+.-]*://)?([^:/?#@\s]*)(?::(.*))?@", re.IGNORECASE | re.DOTALL)
#: What stands in quotation marks behind a name.
_QUOTED = re.compile(r'="([^"]*)"')
#: Parts of a secret that are written one by one: characters, and backslashes that stand together.
_PARTS = re.compile(r"\\+|.", re.DOTALL)


class Secrets:
    """
    Texts that nobody may see.

    :param texts: as they are; shorter ones than a secret may be are left out.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        found = {one for text in texts for one in (text, text.strip()) if len(one) >= _SHORTEST}
        self.texts = sorted(found, key=lambda one: (-len(one), one))
        self._pattern = re.compile("|".join("".join(map(_written, _PARTS.findall(one))) for one in self.texts)) if found else None

    def out_of(self, value: Any) -> Any:
        """Return a JSON value with ``***`` where its texts have a secret, in whichever way its characters are written there."""
        if self._pattern is None:
            return value
        if isinstance(value, dict):
            return {self.out_of(key): self.out_of(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.out_of(one) for one in value]
        if isinstance(value, str):
            return self._pattern.sub("***", value)
        return "***" if str(value) in self.texts else value  # a number, as the service may write it


@lru_cache(maxsize=1024)
def _written(one: str) -> str:
    """Return a pattern for a part: as it is, and as JSON, an address, HTML or a message of Python writes it."""
    if one[0] == "\\":  # not each by itself: in how many ways these could stand for those grows without bounds
        return rf"(?i:\\{{{len(one)},{4 * len(one)}}}|(?:%5c|\\u005c|&#92;|&#x5c;){{{len(one)}}})"
    if one.isascii() and one.isalnum():
        return one
    from html.entities import codepoint2name

    number, octets = ord(one), one.encode("utf-8", "replace")
    ways = {one, f"\\{one}", json.dumps(one)[1:-1], repr(one)[1:-1], octets.decode("latin-1")}
    ways |= {f"&#{number};", f"&#x{number:x};", f"&{codepoint2name.get(number, 'apos')};"}
    ways.add(re.sub("(....)", r"\\u\1", one.encode("utf-16-be", "surrogatepass").hex()))
    for some in [octets, bytes([number])] if number < 256 else [octets]:
        ways |= {"".join(f"%{octet:02x}" for octet in some), repr(some)[2:-1]}
    if one == " ":
        ways.add("+")
    return f"(?i:{'|'.join(re.escape(way) for way in sorted(ways, key=lambda way: (-len(way), way)))})"


def secrets_of(connection: Any) -> Secrets:
    """Return what is secret in a connection, and in what requests adds to it: proxies of the environment, and ``.netrc``."""
    return Secrets([*_own(connection), *_of_environment(connection)])


def has_secret(connection: Any) -> bool:
    """Tell whether a connection has something secret of its own."""
    return bool(Secrets(_own(connection)).texts)


def address_of(connection: Any) -> str:
    """Return the address of a connection, as the HTTP provider's hook makes it."""
    host = str(connection.host or "")
    address = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    return f"{address}:{connection.port}" if connection.port else address


def user_in(address: str) -> tuple[str, str]:
    """Return user and password of an address, as they are written in it."""
    found = _USER.match(address)
    return (found[2], found[3] or "") if found else ("", "")


def _own(connection: Any) -> Iterator[str]:
    yield connection.password or ""
    yield from _of_address(address_of(connection))
    if connection.login:
        yield _basic(connection.login, connection.password or "")
    extra = connection.extra_dejson
    for name, value in extra.items() if isinstance(extra, dict) else ():
        for text in (str(one) for one in leaves(value) if one is not None and not isinstance(one, bool)):
            yield from _of_address(text)  # such as that of a proxy
            if name.lower() not in OPTIONS | _OPEN:
                yield from _of_header(name, text)


def _of_header(name: str, text: str) -> Iterator[str]:
    last = text.strip().rpartition(" ")[2]  # without "Bearer"
    # A structured one, such as `Token token="…"`, has it in quotation marks.
    yield from (one for one in (text, last, *_QUOTED.findall(text)) if not _is_plain(name, one.strip()))
    if text.lower().startswith("basic "):
        with contextlib.suppress(binascii.Error):
            yield base64.b64decode(last).decode("latin-1").partition(":")[2]


def _is_plain(name: str, text: str) -> bool:
    """Tell whether a value says nothing of anybody: a word of JSON, or a number of something that is not called a secret."""
    return text.lower() in _WORDS or (_NUMBER.fullmatch(text) is not None and not _SAYS_SO.search(name))


def _of_environment(connection: Any) -> Iterator[str]:
    from urllib.request import getproxies

    from requests.utils import get_netrc_auth

    for proxy in getproxies().values():
        yield from _of_address(proxy)
    with contextlib.suppress(ValueError):  # no address, or a file that is no text
        if found := get_netrc_auth(address_of(connection)):
            yield from (found[1], _basic(*found))


def _of_address(address: str) -> Iterator[str]:
    user, password = user_in(address)
    if password:
        yield from (password, unquote(password), _basic(unquote(user), unquote(password)))
    elif "://" in address:
        yield user


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode("latin-1", "replace")).decode()
