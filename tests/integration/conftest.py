from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.world import World
from provider.metadata import engine
from tests.statsd import StatsD


@pytest.fixture(scope="module")
def statsd() -> Iterator[StatsD]:
    """The server to which Airflow's processes send their metrics."""
    with StatsD() as server:
        yield server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, statsd: StatsD) -> Iterator[World]:
    """Emulators, a real Airflow with its four services, and the examples imported."""
    with World(tmp_path_factory.mktemp("world"), environment=statsd.environment()) as world:
        yield world
    assert world.airflow.own_processes() == []
    engine.dispose_engines()
