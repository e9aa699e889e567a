"""
The kills and outages of a storm over the intake.

Nothing in the product helps. Before the acknowledgement a kill is certain to come because the service refuses it; before the
mark, because the storm holds the lock of the row that is to be marked. What was in the gap is read from the two databases and
the service's ledger while everything stands still.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import psycopg

from demo.postgres import PostgresServer
from demo.world import World
from provider.emulators.rules import Rule
from provider.metadata.rows import CLAIM_SECONDS
from tests.storms.intake_plan import Plan, Step
from tests.storms.intake_world import Databases, Deliveries, kill, lives, worker_of
from tests.waiting import LOOK_EVERY, wait_for

BEFORE_ACKNOWLEDGE = "commit → acknowledge"
BEFORE_MARK = "start → mark"
BEFORE_COMMIT = "pull → commit"

Publish = Callable[[], None]

_PATIENCE_SECONDS = 120.0
_RUN_SECONDS = 30.0


@dataclass(frozen=True)
class Strike:
    """
    A kill, or an outage, and what it has caught half done.

    :param gap: where; None where nothing was half done.
    :param caught: ids of messages, or before the mark of requests.
    """

    what: str
    at: datetime
    gap: str | None = None
    caught: tuple[str, ...] = ()

    def __str__(self) -> str:
        caught = f": {len(self.caught)} caught {self.gap}, such as {self.caught[0]}" if self.caught else ""
        return f"{self.at:%H:%M:%S.%f} {self.what}{caught}"


class Strikes:
    """
    Makes the steps of a plan.

    :param plan: gives the seed, and the batches that Airflow will start.
    :param application_postgres: the server that goes away.
    :param impatient: let the claims of a killed dispatcher run out at once, instead of after two minutes.
    """

    def __init__(
        self,
        world: World,
        databases: Databases,
        application_postgres: PostgresServer,
        plan: Plan,
        *,
        impatient: bool,
    ) -> None:
        self._world = world
        self._databases = databases
        self._postgres = application_postgres
        self._chance = random.Random(plan.seed)
        self._startable = plan.startable()
        self._impatient = impatient
        self._life_began = 0
        self._caught: set[str] = set()
        self._caught_requests: set[str] = set()
        self._last_strike = datetime.min.replace(tzinfo=UTC)
        self.deliveries = Deliveries(world.emulators.ledger)
        self.made: list[Strike] = []
        self._steps: dict[Step, Callable[[Publish], Strike | None]] = {
            "kill: commit → acknowledge": self._kill_before_acknowledge,
            "kill: start → mark": self._kill_before_mark,
            "database away: pull → commit": self._outage_before_commit,
            "database away: start → mark": self._outage_before_mark,
            "kill: triggerer": self._kill_triggerer_at_random,
            "kill: dispatcher": self._kill_dispatcher_at_random,
            "kill: worker": self._kill_worker_at_random,
        }

    def make(self, step: Step, publish: Publish) -> None:
        """Publish a round and make a step of the plan meanwhile; where that does not come about, the round comes all the same."""
        published: list[bool] = []

        def publish_and_note() -> None:
            published.append(True)
            publish()

        strike = self._steps[step](publish_and_note)
        self._last_strike = datetime.now(UTC)
        if not published:
            publish()
        if strike is None:
            print(f"  {datetime.now(UTC):%H:%M:%S} {step}: nothing to strike came up", flush=True)
            return
        self.made.append(strike)
        print(f"  {strike}", flush=True)

    def caught(self, gap: str) -> int:
        """Return how many kills, outages not counted, have landed in a gap."""
        return sum(strike.gap == gap and strike.what.startswith("SIGKILL") for strike in self.made)

    def counts(self) -> Counter[str]:
        """Return how often what was done."""
        return Counter(strike.what.partition(" (")[0] for strike in self.made)

    # --- between commit and acknowledgement

    def _kill_before_acknowledge(self, publish: Publish) -> Strike | None:
        refusal = Rule(service="pubsub", match="Acknowledge", fault="status", grpc_status="UNAVAILABLE", times=None)
        rules = self._world.emulators.rules
        self.deliveries.read()
        refused = self.deliveries.refused_acknowledgements
        rule = rules.add(refusal)
        try:
            publish()

            def acknowledges() -> bool:
                self.deliveries.read()
                return self.deliveries.refused_acknowledgements > refused

            if not wait_for(acknowledges, _PATIENCE_SECONDS):
                return None
            return self._kill_triggerer()
        finally:
            rules.remove(rule)

    def _kill_triggerer_at_random(self, publish: Publish) -> Strike:
        publish()
        time.sleep(self._chance.uniform(0, 10))
        return self._kill_triggerer()

    def _kill_triggerer(self) -> Strike:
        """Kill the triggerer, see what it leaves half done, and start a new one."""
        airflow = self._world.airflow
        main = psutil.Process(airflow.process("triggerer").pid)
        kill(main, *main.children(recursive=True))
        at = datetime.now(UTC)
        delivered = self.deliveries.open_since(self._life_began)
        # Those that an earlier kill has caught are in the inbox since then.
        half_done = sorted(self._databases.stored(delivered - self._caught), key=int)
        self._caught.update(half_done)
        self._life_began = self.deliveries.read()
        airflow.process("triggerer").wait()
        airflow.start_component("triggerer")
        return Strike(f"SIGKILL of triggerer (pid {main.pid})", at, BEFORE_ACKNOWLEDGE if half_done else None, tuple(half_done))

    # --- between start and mark

    def _kill_before_mark(self, publish: Publish) -> Strike | None:
        """Kill all that start runs: one of them holds the claim."""
        publish()
        with self._held_mark() as held:
            if held is None:
                return None
            request, connection = held
            alive, what = self._kill_dispatching()
            at = datetime.now(UTC)
            # Nobody could write the row meanwhile.
            row = connection.execute("SELECT state FROM batch_requests WHERE id = %s", [request["id"]]).fetchone()
            started = self._databases.has_run(request["workflow_id"], request["batch_id"])
            half_done = alive and started and row is not None and row["state"] == "received"
            self._caught_requests.add(str(request["id"]))
        self._let_claims_run_out()
        return Strike(what, at, BEFORE_MARK, (str(request["id"]),)) if half_done else Strike(what, at)

    def _kill_dispatching(self) -> tuple[bool, str]:
        """Kill all that start runs; return whether they lived, and what was done."""
        killed = self._databases.dispatching()
        workers = [worker for worker in map(worker_of, killed) if worker is not None]
        with_workers = not self._impatient and self._chance.random() < 0.3  # as a lost machine would
        alive = kill(*killed, *(workers if with_workers else []))
        pids = ", ".join(str(process.pid) for process in killed)
        return alive, f"SIGKILL of dispatcher {'and its workers ' if with_workers else ''}(pid {pids})"

    @contextmanager
    def _held_mark(self) -> Iterator[tuple[dict[str, Any], psycopg.Connection[Any]] | None]:
        """Lock a request that is claimed, and go on when its run is there; whoever claimed it cannot mark it."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with self._databases.application() as connection:
            while time.monotonic() < deadline:
                dispatching = wait_for(self._databases.dispatching, deadline - time.monotonic())
                if not dispatching:
                    break
                request = self._lock_claimed(connection, dispatching)
                if request is not None and self._starts(request):
                    yield request, connection
                    return
                connection.rollback()
                time.sleep(LOOK_EVERY)
        yield None

    def _lock_claimed(self, connection: psycopg.Connection[Any], dispatching: Sequence[psutil.Process]) -> dict[str, Any] | None:
        """
        Lock the last request of the latest claims that Airflow will start.

        A claim of one that was killed is not followed by anything, and a run that Airflow refuses never comes.
        """
        oldest = datetime.fromtimestamp(min(process.create_time() for process in dispatching), UTC)
        claimed_after = max(oldest, self._last_strike) + timedelta(seconds=CLAIM_SECONDS)
        claimed = connection.execute(
            "SELECT id, workflow_id, batch_id FROM batch_requests WHERE state = 'received' AND claimed_until > %s "
            "ORDER BY received_at DESC, id DESC",
            [claimed_after],
        )
        request = next((row for row in claimed if (row["workflow_id"], row["batch_id"]) in self._startable), None)
        lock = "SELECT id FROM batch_requests WHERE id = %s AND state = 'received' FOR UPDATE SKIP LOCKED"
        if request is None or connection.execute(lock, [request["id"]]).fetchone() is None:
            return None
        return dict(request)

    def _starts(self, request: dict[str, Any]) -> bool:
        """Wait until the run of a request is there; tell whether it came while somebody started runs."""

        def has_run() -> bool:
            return self._databases.has_run(request["workflow_id"], request["batch_id"])

        wait_for(lambda: has_run() or not self._databases.dispatching(), _RUN_SECONDS)
        return has_run() and bool(self._databases.dispatching())

    def _kill_dispatcher_at_random(self, publish: Publish) -> Strike | None:
        publish()
        dispatcher = self._dispatcher_at_random()
        if dispatcher is None or not kill(dispatcher):
            return None
        return self._after_kill(f"SIGKILL of dispatcher (pid {dispatcher.pid})")

    def _kill_worker_at_random(self, publish: Publish) -> Strike | None:
        """Kill the executor's worker that looks after a dispatcher; the dispatcher itself dies of it."""
        publish()
        dispatcher = self._dispatcher_at_random()
        worker = worker_of(dispatcher) if dispatcher is not None else None
        if worker is None or dispatcher is None or not kill(worker):
            return None
        wait_for(lambda: not lives(dispatcher), _RUN_SECONDS)
        return self._after_kill(f"SIGKILL of worker (pid {worker.pid})")

    def _dispatcher_at_random(self) -> psutil.Process | None:
        """Wait for the dispatcher, and then for a while; return its process or that of a helper."""
        wait_for(self._databases.dispatching, _PATIENCE_SECONDS)
        time.sleep(self._chance.uniform(0, 3))
        dispatching = wait_for(self._databases.dispatching, _RUN_SECONDS)
        return self._chance.choice(dispatching) if dispatching else None

    def _after_kill(self, what: str) -> Strike:
        """See what a kill at any moment leaves half done, once the living have marked theirs; it stays so for two minutes."""
        at = datetime.now(UTC)
        left = self._databases.dispatching()
        before = set(self._databases.started_but_not_marked(self._last_strike)) - self._caught_requests
        wait_for(lambda: not any(map(lives, left)), _RUN_SECONDS)
        alone = not any(map(lives, left))
        still = self._databases.started_but_not_marked(self._last_strike)
        half_done = tuple(one for one in still if one in before) if alone else ()
        self._caught_requests.update(half_done)
        self._let_claims_run_out()
        return Strike(what, at, BEFORE_MARK if half_done else None, half_done)

    def _let_claims_run_out(self) -> None:
        if self._impatient:
            with self._databases.application() as connection:
                connection.execute(
                    "UPDATE batch_requests SET claimed_until = now(), next_attempt_at = now() "
                    "WHERE state = 'received' AND claimed_until > now()"
                )

    # --- the application database goes away

    def _outage_before_commit(self, publish: Publish) -> Strike | None:
        """The service has delivered, and the transaction that stores it waits for a lock when the database goes away."""
        with self._databases.application() as connection:
            if not wait_for(lambda: self._lock_inbox(connection), _PATIENCE_SECONDS):
                return None
            before = self.deliveries.read()
            publish()
            wait_for(lambda: self._not_stored(connection, before), _PATIENCE_SECONDS)
            half_done = self._not_stored(connection, before)  # the rest of the same delivery too
            self._postgres.stop()
            connection.close()
            at = datetime.now(UTC)
        caught = sorted(half_done & self.deliveries.open_since(before), key=int)
        self._come_back()
        return Strike("database away", at, BEFORE_COMMIT if caught else None, tuple(caught))

    def _not_stored(self, connection: psycopg.Connection[Any], position: int) -> set[str]:
        """Return what was delivered since a position, except what came again and is in the inbox since long."""
        delivered = self.deliveries.open_since(position)
        statement = "SELECT message_id FROM batch_requests WHERE message_id = ANY(%s)"
        return delivered - {row["message_id"] for row in connection.execute(statement, [list(delivered)])}

    def _lock_inbox(self, connection: psycopg.Connection[Any]) -> bool:
        """Keep everybody from writing to the inbox while the trigger waits for messages and for nothing else."""
        if not self._is_listening():
            return False
        connection.execute("LOCK TABLE batch_requests IN SHARE ROW EXCLUSIVE MODE")
        if self._is_listening():
            return True
        connection.rollback()
        return False

    def _is_listening(self) -> bool:
        return self._databases.dispatcher_state() == "deferred" and not self._databases.due_within(_RUN_SECONDS)

    def _outage_before_mark(self, publish: Publish) -> Strike | None:
        publish()
        with self._held_mark() as held:
            if held is None:
                return None
            request, connection = held
            row = connection.execute("SELECT state FROM batch_requests WHERE id = %s", [request["id"]]).fetchone()
            self._postgres.stop()
            connection.close()
            at = datetime.now(UTC)
        half_done = row is not None and row["state"] == "received"
        self._caught_requests.add(str(request["id"]))
        self._come_back()
        self._let_claims_run_out()
        return Strike("database away", at, BEFORE_MARK, (str(request["id"]),)) if half_done else Strike("database away", at)

    def _come_back(self) -> None:
        time.sleep(self._chance.uniform(3, 8))
        self._postgres.start()


class DirectStrikes(Strikes):
    """The same where the triggerer starts the runs itself: whoever is killed is the triggerer."""

    def _is_listening(self) -> bool:
        # It listens while it starts runs, and after a burst there is something to start for minutes.
        return self._databases.dispatcher_state() == "deferred"

    def _kill_dispatching(self) -> tuple[bool, str]:
        alive = bool(self._databases.dispatching())
        return alive, self._kill_triggerer().what

    def _kill_dispatcher_at_random(self, publish: Publish) -> Strike:
        return self._kill_triggerer_at_random(publish)

    def _kill_worker_at_random(self, publish: Publish) -> Strike:
        return self._kill_triggerer_at_random(publish)
