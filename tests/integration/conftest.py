from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.world import World
from provider.metadata import engine


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Emulators, a real Airflow with its four services, and the examples imported."""
    with World(tmp_path_factory.mktemp("world")) as world:
        yield world
    assert world.airflow.own_processes() == []
    engine.dispose_engines()
