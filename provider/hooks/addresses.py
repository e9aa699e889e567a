"""Whether an address may be sent a token or a secret: by TLS, or on this machine."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from provider.exceptions import ConfigurationError
from provider.texts import quoted

__all__ = ["check_private", "connection_address", "is_private"]


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, without asking anybody for its address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(url: str) -> bool:
    """Whether what is sent to an address can be read on the way by nobody."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    except ValueError:
        return False


def check_private(url: str, where: str) -> str:
    """
    Return an address that may be sent tokens.

    :param where: the setting that it comes from, for the message.
    :raises ConfigurationError: everybody on the way could read them.
    """
    if not is_private(url):
        raise ConfigurationError(f"{where} is {quoted(url)}, where tokens would travel in clear; give an https:// address.")
    return url


def connection_address(connection: Any) -> str | None:
    """
    Return the address in ``host`` (and ``port``) of an Airflow connection, https unless it says otherwise.

    :return: None where there is no host.
    """
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        return None
    if "://" not in host:
        scheme = connection.schema if connection.schema in ("http", "https") else "https"
        host = f"{scheme}://{host}"
    return f"{host}:{connection.port}" if connection.port else host
