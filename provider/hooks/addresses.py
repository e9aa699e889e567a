"""Whether an address may be sent a token or a secret: by TLS, or on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from provider.exceptions import ConfigurationError
from provider.texts import quoted

__all__ = ["check_private", "is_private"]


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
