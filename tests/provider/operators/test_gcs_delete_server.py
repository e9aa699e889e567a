"""Deletions on a real Cloud Storage server, with tries that are killed half-way."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from provider.exceptions import ConfigurationError
from provider.operators.gcs import GCSDeleteOperator
from tests.google_servers import GoogleServers
from tests.provider.operators.killed_try import KillableTask

NUMBERS = itertools.count(1)
OBJECTS = {"in/": "", "in/a.csv": "a", "in/2026/b.csv": "b", "in/ü c+d %.txt": "c", "inside.csv": "i", "z.csv": "z"}


class World:
    """The server, with a bucket of the test's own."""

    def __init__(self, servers: GoogleServers, folder: Path) -> None:
        self.servers, self.gate, self._folder = servers, servers.storage, folder
        self.bucket = f"deleted-{next(NUMBERS)}"
        servers.put(self.bucket, OBJECTS)

    def task(self, **arguments: Any) -> KillableTask:
        given = {"bucket_name": self.bucket, **arguments}
        return KillableTask(GCSDeleteOperator, given, self._folder, run_id=f"run_{next(NUMBERS)}")

    def left(self) -> list[str]:
        return self.servers.names(self.bucket)


@pytest.fixture
def world(google_servers: GoogleServers, tmp_path: Path) -> World:
    return World(google_servers, tmp_path)


def test_a_folder_is_emptied_and_stays(world: World) -> None:
    deleted = world.task(prefix="in/").run()

    assert deleted == [f"gs://{world.bucket}/{name}" for name in ("in/2026/b.csv", "in/a.csv", "in/ü c+d %.txt")]
    assert world.left() == ["in/", "inside.csv", "z.csv"]


def test_only_what_the_glob_matches(world: World) -> None:
    world.task(prefix="in/", match_glob="**/*.csv").run()

    assert world.left() == ["in/", "in/ü c+d %.txt", "inside.csv", "z.csv"]


def test_one_object(world: World) -> None:
    assert world.task(object_name="in/ü c+d %.txt").run() == [f"gs://{world.bucket}/in/ü c+d %.txt"]
    assert world.left() == ["in/", "in/2026/b.csv", "in/a.csv", "inside.csv", "z.csv"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"object_name": "in"}, "in"),
        ({"object_name": ""}, ""),
        ({"prefix": "i/"}, "i/*"),
        ({"prefix": "in/", "match_glob": "**/*.xml"}, "in/**/*.xml"),
    ],
)
def test_nothing_to_delete_is_an_error_unless_it_is_allowed(arguments: dict[str, str], name: str, world: World) -> None:
    with pytest.raises(AirflowFailException, match="there is nothing to delete. Check the name") as error:
        world.task(**arguments).run()
    assert f"gs://{world.bucket}/{name}:" in str(error.value)
    assert world.task(**arguments, allow_missing=True).run() == []
    assert world.left() == sorted(OBJECTS)


@pytest.mark.parametrize("prefix", ["", "/", "in"])
def test_no_rendered_prefix_is_more_than_a_folder(prefix: str, world: World) -> None:
    with pytest.raises(AirflowFailException, match="must be the name of a folder, ending in '/'"):
        world.task(prefix=prefix, allow_missing=True).run()
    assert world.left() == sorted(OBJECTS)


@pytest.mark.parametrize("tail", ["#", "?x=", "/o/in%2Fa.csv?", "/../other"])
def test_no_rendered_bucket_is_another_address(tail: str, world: World) -> None:
    """``DELETE /b/name#/o/object`` would be the bucket itself."""
    with pytest.raises(AirflowFailException, match="is not the name of a bucket; nothing was sent"):
        world.task(bucket_name=world.bucket + tail, object_name="in/a.csv").run()
    assert world.left() == sorted(OBJECTS)


def test_killed_with_some_of_many_deleted(world: World) -> None:
    task = world.task(prefix="in/")
    with world.gate.hold("DELETE", f"*/b/{world.bucket}/o/in/a.csv") as answer, task.killed_try():
        answer.wait()
    assert world.left() == ["in/", "in/ü c+d %.txt", "inside.csv", "z.csv"]
    task.run()

    assert world.left() == ["in/", "inside.csv", "z.csv"]


def test_killed_before_it_heard_of_the_last_one(world: World) -> None:
    task = world.task(object_name="z.csv")
    with world.gate.hold("DELETE", f"*/b/{world.bucket}/o/z.csv") as answer, task.killed_try():
        answer.wait()
    assert "z.csv" not in world.left()
    assert task.run() == []
    task.clear()
    with pytest.raises(AirflowFailException, match="there is nothing to delete"):
        task.run()


@pytest.mark.parametrize("arguments", [{}, {"object_name": "a", "prefix": "b/"}, {"object_name": "a", "match_glob": "*"}])
def test_object_or_prefix(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="give object_name, or prefix, and match_glob with the latter alone"):
        GCSDeleteOperator(task_id="job", bucket_name="landing", **arguments)
