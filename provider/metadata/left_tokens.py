"""
A token that one process leaves and another one looks for: whether all of them see the same database.

It is in ``leader_leases``, under a name of its own: who examines here, and since when.
"""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from provider.metadata.tables import LeaderLease, utc_now
from provider.metadata.upsert import upsert

_NAME = "doctor"


@dataclass(frozen=True)
class LeftToken:
    """Who has left a token, and when."""

    pid: int
    host: str
    at: datetime


def leave_token(session: Session, token: str) -> None:
    """Leave a token; the one before it is gone."""
    row = {"name": _NAME, "holder": f"{_digest(token)} {os.getpid()} {socket.gethostname()[:200]}", "seen_at": utc_now()}
    upsert(session, LeaderLease, [row], update=["holder", "seen_at"])


def left_token(session: Session, token: str) -> LeftToken | None:
    """Return who has left this token; None where it is not there."""
    found = session.get(LeaderLease, _NAME)
    if found is None:
        return None
    digest, pid, host = found.holder.split(" ", 2)
    return LeftToken(int(pid), host, found.seen_at) if digest == _digest(token) else None


def is_of_this_process(found: LeftToken) -> bool:
    """Tell whether this process has left the token itself."""
    return (found.pid, found.host) == (os.getpid(), socket.gethostname()[:200])


def _digest(token: str) -> str:
    """Return a short text that stands for a token, which may be as long as the id of a run."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]
