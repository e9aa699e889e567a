"""What goes wrong on a cluster, one after the other, and how it is mended again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.cluster.cluster import Cluster


@dataclass(frozen=True)
class Fault:
    """
    One thing that goes wrong.

    :param strike: makes it so.
    :param mend: ends it.
    :param seconds: how long it lasts.
    """

    name: str
    strike: Callable[[Cluster], None]
    mend: Callable[[Cluster], None]
    seconds: float


def _machine(name: str, seconds: float) -> Fault:
    return Fault(
        f"{name} killed",
        lambda cluster: cluster.machines[name].kill(),
        lambda cluster: cluster.machines[name].start(),
        seconds,
    )


def _without_database_and_processor(cluster: Cluster) -> None:
    cluster.application_postgres.stop()
    cluster.machines["dag-processor"].replace()


def all_faults(outage: float) -> tuple[Fault, ...]:
    """
    Return everything that goes wrong, in its order.

    :param outage: seconds for which the application database is away.
    """
    back = lambda cluster: cluster.application_postgres.start()  # noqa: E731
    return (
        Fault("application database away", lambda cluster: cluster.application_postgres.stop(), back, outage),
        _machine("worker-1", 30),
        _machine("triggerer-1", 90),
        _machine("scheduler-1", 30),
        Fault("broker restarted", lambda cluster: cluster.broker.stop(), lambda cluster: cluster.broker.start(), 10),
        Fault("dag-processor replaced while the database is away", _without_database_and_processor, back, outage / 2),
    )
