"""Who runs a command, for what is recorded about it."""

from __future__ import annotations

import getpass
import socket

from provider.texts import storable


def who() -> str:
    """Return user and machine; a user whom the machine does not know by name has none."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return storable(f"{user}@{socket.gethostname()}", 250)
