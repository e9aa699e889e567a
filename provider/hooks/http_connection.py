"""What is secret in an Airflow connection to an HTTP service, and whether anything may be sent there."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from provider.exceptions import ConfigurationError
from provider.hooks.addresses import is_loopback
from provider.plain_data import leaves

#: Keys of the extra whose values are no secret: options of the HTTP provider's hook, and headers that say nothing of anybody. It
#: makes headers of all others.
_OPEN = frozenset(
    {
        *("allow_redirects", "cert", "check_response", "max_redirects", "proxies", "proxy", "srv_lookup", "stream", "timeout"),
        *("trust_env", "verify", "verify_ssl"),
        *("accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-type", "user-agent"),
    }
)
#: Shorter texts are no secrets, as for Airflow's masker: of every answer single letters would be gone.
_SHORTEST = 5


def secrets_of(connection: Any) -> list[str]:
    """Return what is secret in a connection, in each form in which a service could send it back; the longest first."""
    found = {one for one in _plain_secrets(connection) if len(one) >= _SHORTEST}
    in_json = {json.dumps(one)[1:-1] for one in found} | {json.dumps(one, ensure_ascii=False)[1:-1] for one in found}
    escaped = {one.replace("/", "\\/") for one in in_json} | {quote(one, safe="") for one in found}
    return sorted(found | in_json | escaped, key=lambda one: (-len(one), one))


def without(value: Any, secrets: Sequence[str]) -> Any:
    """Return a JSON value with nothing secret in its texts."""
    if isinstance(value, dict):
        return {without(key, secrets): without(one, secrets) for key, one in value.items()}
    if isinstance(value, list):
        return [without(one, secrets) for one in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "***")
    return value


def check_address(conn_id: str, connection: Any, secrets: Sequence[str]) -> None:
    """
    Look at where a connection leads.

    :raises ConfigurationError: nowhere, or its secrets would be sent in clear though nobody has said so.
    """
    try:
        host = urlsplit(_address(connection)).hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise ConfigurationError(f"The connection {conn_id} has no host; give it one such as https://api.example.com.")
    if secrets and "://" not in connection.host and not connection.schema and not is_loopback(host):
        raise ConfigurationError(
            f"The connection {conn_id} has a secret and says neither http nor https, so that it would be sent in clear; set its "
            "schema to https."
        )


def _address(connection: Any) -> str:
    host = str(connection.host or "")
    return host if "://" in host else f"//{host}"


def _plain_secrets(connection: Any) -> Iterator[str]:
    yield connection.password or ""
    yield _password_in(_address(connection))
    if connection.login:
        yield base64.b64encode(f"{connection.login}:{connection.password or ''}".encode("latin-1", "replace")).decode()
    for name, value in connection.extra_dejson.items():
        for text in (str(one) for one in leaves(value) if one is not None and not isinstance(one, bool)):
            yield _password_in(text)  # such as that of a proxy
            if name.lower() not in _OPEN:
                yield text
                yield text.rpartition(" ")[2]  # without "Bearer"


def _password_in(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:
        return ""
