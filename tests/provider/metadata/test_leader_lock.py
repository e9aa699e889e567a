"""One leader: replaced when it hangs, and unable to write when it wakes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from provider.exceptions import LostLeadError
from provider.metadata.engine import read_session, write_session
from provider.metadata.leader_lock import LEASE_SECONDS, LeaderLock, current_lead, record_current_at
from provider.metadata.tables import LeaderLease, utc_now
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("application_database")


def lead(session_work: LeaderLock) -> bool:
    with write_session() as session:
        try:
            session_work.confirm(session)
        except LostLeadError:
            return False
    return True


def test_a_leader_is_replaced_within_half_a_minute() -> None:
    assert LEASE_SECONDS <= 25


def test_one_leads_until_it_releases() -> None:
    first, second = LeaderLock(), LeaderLock()
    assert (first.acquire(), second.acquire(), first.acquire()) == (True, False, True)
    second.release()
    assert (lead(first), lead(second), second.acquire()) == (True, False, False)
    first.release()
    assert (second.acquire(), first.acquire(), lead(first)) == (True, False, False)
    second.release()


def test_one_that_reads_worse_gives_the_lead_to_one_that_reads_better() -> None:
    better, worse, other = LeaderLock(), LeaderLock(yields=True), LeaderLock(yields=True)
    assert (worse.acquire(), other.acquire()) == (True, False)
    assert not better.acquire(), "it asks, and waits for a look of the other's"
    assert (other.acquire(), worse.acquire(), lead(worse)) == (False, False, False)
    assert (better.acquire(), worse.acquire(), other.acquire(), lead(better)) == (True, False, False, True)


def test_one_that_asked_for_the_lead_and_is_gone_keeps_nobody_from_it() -> None:
    better, worse = LeaderLock(), LeaderLock(lease=60, yields=True)
    assert worse.acquire()
    assert not better.acquire()
    with write_session() as session:
        session.execute(text("UPDATE leader_leases SET seen_at = '2001-01-01 00:00:00' WHERE name = 'reconciler candidate'"))
    assert worse.acquire()


def test_nobody_asks_one_that_does_not_yield() -> None:
    assert LeaderLock().acquire()
    assert not LeaderLock().acquire()
    assert not LeaderLock(yields=True).acquire()
    with read_session() as session:
        assert list(session.scalars(select(LeaderLease.name))) == ["reconciler"]


def test_a_leader_that_works_stays_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life is written now and then, and not with each pass."""
    lock = LeaderLock(lease=3600)
    assert lock.acquire()

    def seen() -> object:
        with read_session() as session:
            return session.scalar(select(LeaderLease.seen_at))

    first = seen()
    assert lock.acquire()
    assert seen() == first
    with write_session() as session:
        session.execute(text("UPDATE leader_leases SET seen_at = '2001-01-01 00:00:00'"))
    assert lock.acquire()
    assert str(seen()) > str(first)


LEADER = """
import sys, time
from provider.exceptions import LostLeadError
from provider.metadata.engine import write_session
from provider.metadata.leader_lock import LeaderLock
from provider.metadata.tables import Workflow
lock = LeaderLock(lease=1.5)
assert lock.acquire()
print("leads", flush=True)
sys.stdin.readline()
# Stopped here, and woken when another one leads.
try:
    with write_session() as session:
        lock.confirm(session)
        session.add(Workflow(workflow_id="written_by_a_leader_that_was_gone"))
except LostLeadError:
    print("lost", lock.acquire(), flush=True)
"""


def test_a_stopped_leader_is_replaced_and_writes_nothing_when_it_wakes() -> None:
    leader = subprocess.Popen([sys.executable, "-c", LEADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert leader.stdin is not None
    assert leader.stdout is not None
    try:
        assert leader.stdout.readline() == "leads\n"
        os.kill(leader.pid, signal.SIGSTOP)
        other = LeaderLock(lease=1.5)
        assert wait_for(other.acquire, 30)
        leader.stdin.write("\n")
        leader.stdin.flush()
        os.kill(leader.pid, signal.SIGCONT)
        # The one that replaced it has to give signs of life all the while.
        assert wait_for(lambda: other.acquire() and leader.poll() is not None, 60)
        assert leader.stdout.read() == "lost False\n"
        assert lead(other)
    finally:
        leader.kill()
        leader.wait()
    with read_session() as session:
        assert session.scalar(text("SELECT count(*) FROM workflows")) == 0


def test_nobody_takes_the_lead_over_while_its_holder_writes(application_database: str) -> None:
    """What the leader has confirmed holds until its transaction ends."""
    if application_database.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time anyway")
    from sqlalchemy.exc import OperationalError

    first, second = LeaderLock(lease=0.0001), LeaderLock(lease=0.0001)
    assert first.acquire()
    with write_session() as session:
        first.confirm(session)
        with pytest.raises(OperationalError, match="lock timeout"):
            second.acquire()
    assert second.acquire()


def test_while_the_lead_is_handed_over_the_one_that_asked_for_it_leads() -> None:
    better, worse = LeaderLock(), LeaderLock(yields=True)
    assert (worse.acquire(), better.acquire(), worse.acquire()) == (True, False, False)
    with read_session() as session:
        found = current_lead(session)
    assert found is not None
    assert (found.holds, found.host) == (True, socket.gethostname())
    with write_session() as session:
        session.execute(text("UPDATE leader_leases SET seen_at = '2001-01-01 00:00:00' WHERE name = 'reconciler candidate'"))
    with read_session() as session:
        found = current_lead(session)
    assert found is not None
    assert (found.holds, found.host) == (False, "")


def test_who_leads_is_told() -> None:
    with read_session() as session:
        assert current_lead(session) is None
    lock = LeaderLock(lease=0.0)  # each look is a sign of life
    lock.acquire()
    lock.tell_current(utc_now() - timedelta(minutes=5))
    lock.acquire()
    with read_session() as session:
        found = current_lead(session)
    assert found is not None
    assert (found.holds, found.host) == (True, socket.gethostname())
    assert found.behind is not None
    assert timedelta(minutes=5) <= found.behind < timedelta(minutes=6)
    lock.release()
    with read_session() as session:
        found = current_lead(session)
    assert found is not None
    assert (found.holds, found.host) == (False, "")


def test_a_leader_that_comes_back_knows_no_better_than_the_one_between() -> None:
    """As of when the record is complete does not go back, as a new leader goes on from there."""
    first, second = LeaderLock(lease=0.0), LeaderLock(lease=0.0)
    now = utc_now()
    for lock, at in ((first, now - timedelta(minutes=9)), (second, now)):
        assert lock.acquire()
        lock.tell_current(at)
        lock.acquire()
    assert first.acquire()
    with read_session() as session:
        assert record_current_at(session) == now
