"""Whether a request can be sent over an Airflow connection to an HTTP service, and its secrets to nobody else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from provider.exceptions import ConfigurationError
from provider.hooks.addresses import is_loopback
from provider.hooks.http_secrets import OPTIONS, address_of, has_secret, user_in
from provider.texts import quoted

#: Names of headers.
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def check_connection(conn_id: str, connection: Any) -> None:
    """
    Look at a connection before anything is sent. What is secret is in no message.

    :raises ConfigurationError: it leads nowhere, has something that HTTP does not carry, or its secrets would be sent in clear.
    """
    _check_address(conn_id, connection)
    extra = connection.extra_dejson
    if not isinstance(extra, Mapping):
        raise ConfigurationError(f"The connection {conn_id} has an extra that is no JSON object; write an object there.")
    _check_options(conn_id, extra)
    for name, value in extra.items():
        if name in OPTIONS or value is None:
            continue
        if not TOKEN.fullmatch(name):
            raise ConfigurationError(f"The connection {conn_id} has {quoted(name)} in its extra, which is no name of a header.")
        if flaw := _flaw(value):
            raise ConfigurationError(
                f"The connection {conn_id} has the header {name} in its extra, and the value {flaw}; correct it there."
            )
    _check_login(conn_id, connection, extra)


def _check_address(conn_id: str, connection: Any) -> None:
    try:
        parts = urlsplit(address_of(connection))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigurationError(f"The connection {conn_id} has a host, or a port, that cannot be read; correct them.") from None
    if not host:
        raise ConfigurationError(f"The connection {conn_id} has no host; give it one such as https://api.example.com.")
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"The connection {conn_id} has an address that is neither http nor https; correct it.")
    if set("?#\\") & set(str(connection.host)):
        raise ConfigurationError(
            f"The connection {conn_id} has ?, # or \\ in its host, so that the endpoint would be no path; leave them out."
        )
    if connection.port and str(port) != str(connection.port):
        raise ConfigurationError(
            f"The connection {conn_id} has a port, which would stand behind the path in its host; write it into the host, such "
            "as https://api.example.com:8443/v1."
        )
    if "://" not in connection.host and not connection.schema and not is_loopback(host) and has_secret(connection):
        raise ConfigurationError(
            f"The connection {conn_id} has a secret and says neither http nor https, so that it would be sent in clear; set its "
            "schema to https."
        )


def _flaw(value: Any) -> str:
    """Return why HTTP does not carry the value of a header; empty where it does."""
    if not isinstance(value, str):
        return "is no text"
    if value[:1].isspace():
        return "begins with a space or a line break"
    if _CONTROL.search(value):
        return "has a line break or another control character"
    return "" if _is_latin(value) else "has characters that are not in latin-1"


def _check_options(conn_id: str, extra: Mapping[str, Any]) -> None:
    if (proxies := _proxies(extra)) is not None and not (
        isinstance(proxies, dict) and all(one is None or isinstance(one, str) for one in proxies.values())
    ):
        raise ConfigurationError(
            f"The connection {conn_id} has proxies in its extra that are no object of texts; write one for each scheme."
        )
    verify = extra.get("verify", extra.get("verify_ssl"))
    if isinstance(verify, str) and verify.strip().lower() in ("", "true", "false"):
        raise ConfigurationError(
            f"The connection {conn_id} has verify in its extra as a text, which names a file; write true or false without quotes."
        )
    cert = extra.get("cert")
    if not (cert is None or isinstance(cert, str) or (isinstance(cert, list) and [type(one) for one in cert] == [str, str])):
        raise ConfigurationError(f"The connection {conn_id} has a cert in its extra that is neither a path nor a list of two.")


def _check_login(conn_id: str, connection: Any, extra: Mapping[str, Any]) -> None:
    carried = {"login": connection.login or "", "password": (connection.password or "") if connection.login else ""}
    carried["host"] = unquote("".join(user_in(address_of(connection))))
    for scheme, proxy in (_proxies(extra) or {}).items():
        carried[f"proxy for {scheme}"] = unquote("".join(user_in(proxy or "")))
    for what, text in carried.items():
        if not _is_latin(text):
            raise ConfigurationError(
                f"The {what} of the connection {conn_id} has characters that are not in latin-1, which a login over HTTP does "
                "not carry; give the service another login or password."
            )


def _proxies(extra: Mapping[str, Any]) -> Any:
    return extra.get("proxies", extra.get("proxy"))


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
