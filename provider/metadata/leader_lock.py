"""One leader among several processes: a row that says who it is, and when it last gave a sign of life."""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from provider.exceptions import LostLeadError
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import LeaderLease, utc_now
from provider.metadata.upsert import inserts, upsert

#: A leader that has given no sign of life for so long, in seconds, is one no more.
LEASE_SECONDS = 15.0

#: A leader gives one when its last is so old, in seconds.
SIGN_SECONDS = 3.0

_NAME = "reconciler"
#: The row by which one that would do better asks the leader to yield.
_CANDIDATE = "reconciler candidate"
#: Last word of the holder of a lead that yields.
_YIELDS = " yields"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class LeaderLock:
    """
    The reconciler's lead. A process that ends releases it, that of one which is killed or hangs runs out.

    One that was stopped and goes on does not know: so whoever writes as the leader calls :meth:`confirm` in the same transaction.

    :param lease: seconds after which a leader without a sign of life is replaced.
    :param yields: whether it gives the lead to one that does not yield, wherever there is one that lives.
    """

    def __init__(self, lease: float = LEASE_SECONDS, *, yields: bool = False) -> None:
        self._lease = timedelta(seconds=lease)
        self._sign = timedelta(seconds=min(SIGN_SECONDS, lease / 5))
        self._current_at: datetime | None = None
        self._yields = yields
        #: Whether another process may have led before the last :meth:`acquire`.
        self.is_new = True
        self._me = f"{socket.gethostname()[:200]} {uuid.uuid4().hex}{_YIELDS if yields else ''}"

    def acquire(self) -> bool:
        """
        Become or stay the leader.

        :return: whether this process is the leader now.
        :raises sqlalchemy.exc.SQLAlchemyError: the database cannot be reached.
        """
        with read_session() as session:
            now = _now(session)
            found, candidate = session.get(LeaderLease, _NAME), session.get(LeaderLease, _CANDIDATE)
        self.is_new = found is None or found.holder != self._me
        if self.is_new:
            self._current_at = None  # another one may have written more since
        asked = None if candidate is None else now - candidate.seen_at
        if self._yields and asked is not None and asked < self._lease:
            self.release()
            return False
        if found is not None:
            leads, silent = found.holder == self._me, now - found.seen_at
            if silent < (self._sign if leads else self._lease):
                if not (leads or self._yields) and found.holder.endswith(_YIELDS) and (asked is None or asked > self._sign):
                    self._ask()
                return leads
        with write_session() as session:
            return self._take(session)

    def confirm(self, session: Session) -> None:
        """
        Make sure that this process still leads, and that nobody else does before the session's transaction ends.

        :raises LostLeadError: another process leads now.
        """
        held = select(LeaderLease.name).where(LeaderLease.name == _NAME, LeaderLease.holder == self._me)
        if session.scalar(held.with_for_update(read=True)) is None:
            raise LostLeadError

    def tell_current(self, at: datetime) -> None:
        """Let the next sign of life say that what was to be written is written, as of this time."""
        self._current_at = at

    def release(self) -> None:
        """Give the lead up, if it is held; as of when the record is complete stays."""
        nobody: dict[str, Any] = {"holder": "", "seen_at": _LONG_AGO}
        if self._current_at is not None:
            nobody["current_at"] = self._current_at
        with write_session() as session:
            mine = update(LeaderLease).where(LeaderLease.name == _NAME, LeaderLease.holder == self._me)
            session.execute(mine.values(nobody))

    def _ask(self) -> None:
        """Ask a leader that yields for the lead."""
        with write_session() as session:
            row = {"name": _CANDIDATE, "holder": self._me, "seen_at": _now(session)}
            upsert(session, LeaderLease, [row], update=("holder", "seen_at"))

    def _take(self, session: Session) -> bool:
        now = _now(session)
        row: dict[str, Any] = {"name": _NAME, "holder": self._me, "seen_at": now}
        if self._current_at is not None:
            row["current_at"] = self._current_at
        (statement,) = inserts(session, LeaderLease, [row])
        mine_or_silent = or_(LeaderLease.holder == self._me, LeaderLease.seen_at <= now - self._lease)
        taken = statement.on_conflict_do_update(index_elements=[LeaderLease.name], set_={**row}, where=mine_or_silent).returning(
            LeaderLease.name
        )
        return session.scalar(taken) is not None


@dataclass(frozen=True)
class Lead:
    """
    Who leads, by the database's clock.

    :param host: machine of the leader; empty where it has given the lead up.
    :param silent: how long ago it gave its last sign of life.
    :param behind: how long ago the record was complete; None where no reconciler has finished a look yet.
    """

    host: str
    silent: timedelta
    behind: timedelta | None

    @property
    def holds(self) -> bool:
        """Whether there is a leader that lives."""
        return bool(self.host) and self.silent.total_seconds() < LEASE_SECONDS


def current_lead(session: Session) -> Lead | None:
    """
    Return who leads; None where nobody ever has.

    Where the lead was given up for one that has just asked for it, that one leads: it takes the lead at its next look.
    """
    found = session.get(LeaderLease, _NAME)
    if found is None:
        return None
    now = _now(session)
    behind = None if found.current_at is None else now - found.current_at
    if not found.holder and (candidate := session.get(LeaderLease, _CANDIDATE)) is not None:
        next_one = Lead(candidate.holder.partition(" ")[0], now - candidate.seen_at, behind)
        if next_one.holds:
            return next_one
    return Lead(found.holder.partition(" ")[0], now - found.seen_at, behind)


def record_current_at(session: Session) -> datetime | None:
    """Return as of when batches and task logs say what Airflow says; None where no reconciler has finished a look yet."""
    return session.scalar(select(LeaderLease.current_at).where(LeaderLease.name == _NAME))


def _now(session: Session) -> datetime:
    """Return the database's time, as the clocks of several machines differ; an SQLite file is on one machine."""
    if session.get_bind().dialect.name == "sqlite":
        return utc_now()
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now
