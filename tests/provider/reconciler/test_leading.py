"""Who leads, and what a new leader takes for known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update

from provider.metadata.engine import write_session
from provider.metadata.leader_lock import LeaderLock
from provider.metadata.tables import LeaderLease, TaskBatch
from provider.reconciler import passes
from provider.reconciler.passes import Reconciler
from tests.provider.reconciler.batch_rows import AT, batch, statuses
from tests.provider.reconciler.conftest import AirflowDatabase, long_ago
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("application_database")


class TestNewLeader:
    def test_a_new_leader_does_not_trust_what_it_saw_before(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        airflow_database.run(state="success", end_date=AT)
        one.tick()
        with write_session() as session:
            session.execute(delete(TaskBatch))
        with monkeypatch.context() as other:
            other.setattr(one._lock, "acquire", lambda: False)
            assert not one.tick()
        one.tick()
        assert batch().status == "SUCCESS"

    @pytest.mark.parametrize(("minutes", "found"), [(30, True), (90, False)])
    def test_a_new_leader_finds_what_changed_while_nobody_led(
        self,
        airflow_database: AirflowDatabase,
        one: Reconciler,
        monkeypatch: pytest.MonkeyPatch,
        minutes: int,
        found: bool,
    ) -> None:
        """A person's change to a task of an old run, as while the application database was away; an hour back and no longer."""
        from airflow.models.taskinstance import TaskInstance

        long_ago(airflow_database, one)
        with write_session() as session:
            session.execute(update(LeaderLease).values(current_at=datetime.now(UTC) - timedelta(hours=2)))
        changed = datetime.now(UTC) - timedelta(minutes=minutes)
        airflow_database.set(TaskInstance, {"task_id": "a"}, state="failed", updated_at=changed)
        with monkeypatch.context() as other:
            other.setattr(one._lock, "acquire", lambda: False)
            assert not one.tick()
        one.tick()
        assert statuses() == ({("a", -1, 1): "ERROR"} if found else {})

    def test_a_pass_in_which_another_one_has_led_counts_for_nothing(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It took longer than the lease, the other one is silent again, and there was nothing to write."""
        airflow_database.run()
        one.tick()
        load = passes.load

        def while_another_leads(*arguments: Any) -> Any:
            with write_session() as session:
                session.execute(update(LeaderLease).values(holder="another", seen_at=AT))
            return load(*arguments)

        with monkeypatch.context() as slow:
            slow.setattr(passes, "load", while_another_leads)
            assert not one.tick()
        assert one.tick()

    @pytest.mark.parametrize("another", [False, True])
    def test_after_an_outage_the_leader_goes_on_and_begins_anew_where_another_one_has_led(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch, another: bool
    ) -> None:
        forgotten: list[bool] = []
        one._source = replace(one._source, forget=lambda: forgotten.append(True))
        airflow_database.run(state="success", end_date=AT)
        one.tick()
        airflow_database.task("a", "failed")
        with monkeypatch.context() as away:
            away.setattr(one._lock, "acquire", lambda: (_ for _ in ()).throw(ConnectionError("gone")))
            with pytest.raises(ConnectionError):
                one.tick()
        assert forgotten == [True]
        if another:
            with write_session() as session:
                session.execute(update(LeaderLease).values(holder="another", seen_at=AT))
        one._next_task_look = 0.0
        one.tick()
        assert forgotten == [True] * (2 if another else 1)
        assert statuses()[("a", -1, 1)] == "ERROR"


def test_one_leads_and_the_next_takes_over() -> None:
    code = "from provider.metadata.leader_lock import LeaderLock as L; l = L(lease=1.0); print(l.acquire(), flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    lock = LeaderLock(lease=1.0)
    assert not lock.acquire()
    other.kill()
    other.wait()
    assert wait_for(lock.acquire, 30)
    assert lock.acquire()
    lock.release()
