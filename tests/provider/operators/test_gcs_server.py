"""Moves and copies on a real Cloud Storage server, with tries that are killed half-way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from provider.exceptions import ConfigurationError
from provider.operators.gcs import GCSArchiveOperator, GCSCopyOperator
from tests.google_servers import GoogleServers
from tests.provider.operators.killed_try import KillableTask

NUMBERS = itertools.count(1)
OBJECTS = {"in/": "", "in/a.csv": "a", "in/2026/b.csv": "b", "in/ü c+d %.txt": "c", "inside.csv": "i"}
FOLDER = {"source_prefix": "in/", "destination_prefix": "old/"}
MOVED = ["old/2026/b.csv", "old/a.csv", "old/ü c+d %.txt"]


class World:
    """The server, with buckets of the test's own."""

    def __init__(self, servers: GoogleServers, folder: Path) -> None:
        self.servers, self.gate, self._folder = servers, servers.storage, folder
        number = next(NUMBERS)
        self.landing, self.archive = f"landing-{number}", f"archive-{number}"
        servers.put(self.landing, OBJECTS)
        servers.put(self.archive, {})

    def task(self, operator: Callable[..., Any] = GCSArchiveOperator, /, **arguments: Any) -> KillableTask:
        buckets = {"source_bucket": self.landing, "destination_bucket": self.archive}
        return KillableTask(operator, {**buckets, **arguments}, self._folder, run_id=f"run_{next(NUMBERS)}")

    def left(self) -> list[str]:
        return self.servers.names(self.landing)

    def archived(self) -> list[str]:
        return self.servers.names(self.archive)

    def text(self, bucket: str, name: str) -> str:
        return str(self.servers.storage_client().bucket(bucket).blob(name).download_as_text())

    def call(self, name: str, verb: str = "") -> str:
        """Return the pattern of calls for an object of the landing bucket."""
        return f"*/b/{self.landing}/o/{name}{verb}"


@pytest.fixture
def world(google_servers: GoogleServers, tmp_path: Path) -> World:
    return World(google_servers, tmp_path)


def test_a_folder_moves_with_the_folders_in_it(world: World) -> None:
    moved = world.task(**FOLDER).run()

    assert moved == [f"gs://{world.archive}/{name}" for name in MOVED]
    assert (world.left(), world.archived()) == (["in/", "inside.csv"], MOVED)
    assert world.text(world.archive, "old/ü c+d %.txt") == "c"


def test_within_one_bucket(world: World) -> None:
    world.task(**FOLDER, destination_bucket=None).run()

    assert world.left() == ["in/", "inside.csv", *MOVED]


@pytest.mark.parametrize(("glob", "names"), [("in/*.csv", ["old/a.csv"]), ("**/*.csv", MOVED[:2]), ("**/{a,x}.*", ["old/a.csv"])])
def test_only_what_the_glob_matches(glob: str, names: list[str], world: World) -> None:
    world.task(**FOLDER, match_glob=glob).run()

    assert world.archived() == names


def test_one_object(world: World) -> None:
    moved = world.task(source_object="in/a.csv", destination_object="2026/a-1.csv").run()

    assert moved == [f"gs://{world.archive}/2026/a-1.csv"]
    assert (world.archived(), "in/a.csv" in world.left()) == (["2026/a-1.csv"], False)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"source_object": "in/a", "destination_object": "x"}, "in/a"),
        ({"source_prefix": "none/", "destination_prefix": "x/"}, "none/*"),
        ({**FOLDER, "match_glob": "**/*.xml"}, "in/**/*.xml"),
    ],
)
def test_a_missing_source_is_an_error_unless_it_is_allowed(arguments: dict[str, str], name: str, world: World) -> None:
    with pytest.raises(AirflowFailException, match="there is nothing to move") as error:
        world.task(**arguments).run()

    assert f"gs://{world.landing}/{name}:" in str(error.value)
    assert world.task(**arguments, allow_missing=True).run() == []


def test_killed_between_copy_and_delete(world: World) -> None:
    task = world.task(source_object="in/a.csv", destination_object="a.csv")
    with world.gate.hold("POST", world.call("in/a.csv", "/rewriteTo/*")) as answer, task.killed_try():
        answer.wait()
    assert ("in/a.csv" in world.left(), world.archived()) == (True, ["a.csv"]), "it must have been copied, not deleted"

    assert task.run() == [f"gs://{world.archive}/a.csv"]
    assert ("in/a.csv" in world.left(), world.archived()) == (False, ["a.csv"])


def test_killed_before_it_heard_of_the_delete(world: World) -> None:
    task = world.task(source_object="in/a.csv", destination_object="a.csv")
    with world.gate.hold("DELETE", world.call("in/a.csv")) as answer, task.killed_try():
        answer.wait()
    assert ("in/a.csv" in world.left(), world.archived()) == (False, ["a.csv"])

    assert task.run() == []


@pytest.mark.parametrize(
    ("method", "name", "left"),
    [
        ("POST", "in/2026/b.csv/rewriteTo/*", ["in/2026/b.csv", "in/a.csv", "in/ü c+d %.txt"]),
        ("DELETE", "in/2026/b.csv", ["in/a.csv", "in/ü c+d %.txt"]),
        ("POST", "in/ü*/rewriteTo/*", ["in/ü c+d %.txt"]),
    ],
)
def test_killed_with_some_of_many_moved(method: str, name: str, left: list[str], world: World) -> None:
    task = world.task(**FOLDER)
    with world.gate.hold(method, world.call(name)) as answer, task.killed_try():
        answer.wait()
    assert world.left() == ["in/", *left, "inside.csv"]
    task.run()

    assert (world.left(), world.archived()) == (["in/", "inside.csv"], MOVED)
    assert world.text(world.archive, "old/a.csv") == "a"


def test_a_clear_after_everything_was_moved_finds_nothing(world: World) -> None:
    task = world.task(**FOLDER)
    task.run()
    assert task.run() == []
    task.clear()

    with pytest.raises(AirflowFailException, match="there is nothing to move"):
        task.run()


BOTH = pytest.mark.parametrize("operator", [GCSArchiveOperator, GCSCopyOperator])


@BOTH
@pytest.mark.parametrize(
    "arguments",
    [
        {"source_object": "in/a.csv", "destination_object": "in/a.csv"},
        {"source_prefix": "in/", "destination_prefix": "in/"},
        {"source_prefix": "in/", "destination_prefix": "in/old/"},
        {"source_prefix": "in", "destination_prefix": "old/"},
        {"source_prefix": "/", "destination_prefix": "old/"},
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_nothing_is_brought_onto_itself(
    arguments: dict[str, str], named: bool, operator: Callable[..., Any], world: World
) -> None:
    bucket = world.landing if named else None
    with pytest.raises(AirflowFailException, match="source itself or in it|must be the name of a folder"):
        world.task(operator, **arguments, destination_bucket=bucket).run()

    assert world.left() == sorted(OBJECTS)


@BOTH
@pytest.mark.parametrize("named", [True, False])
def test_nothing_is_brought_onto_what_is_to_be_brought(named: bool, operator: Callable[..., Any], world: World) -> None:
    objects = {"in/today/today/x.csv": "of 2025", "in/today/x.csv": "of 2026"}
    world.servers.put(world.landing, objects)
    arguments = {"source_prefix": "in/today/", "destination_prefix": "in/"}
    said = f"gs://{world.landing}/in/today/today/x.csv would become in/today/x.csv, which is in the source in/today/ too; nothing"
    with pytest.raises(AirflowFailException, match=said):
        world.task(operator, **arguments, destination_bucket=world.landing if named else None).run()

    assert {name: world.text(world.landing, name) for name in objects} == objects
    assert world.left() == sorted({**OBJECTS, **objects})


@BOTH
def test_a_folder_is_brought_to_its_own_parent(operator: Callable[..., Any], world: World) -> None:
    arguments = {"source_prefix": "in/2026/", "destination_prefix": "in/", "destination_bucket": None}

    assert world.task(operator, **arguments).run() == [f"gs://{world.landing}/in/b.csv"]
    assert world.text(world.landing, "in/b.csv") == "b"


@BOTH
def test_another_bucket_has_no_source(operator: Callable[..., Any], world: World) -> None:
    world.servers.put(world.landing, {"in/today/today/x.csv": "x"})

    moved = world.task(operator, source_prefix="in/today/", destination_prefix="in/").run()
    assert (moved, world.archived()) == ([f"gs://{world.archive}/in/today/x.csv"], ["in/today/x.csv"])


@BOTH
@pytest.mark.parametrize("bucket", ["landing#", "landing?x=", "landing/o/a", "", ".."])
def test_what_is_no_bucket_is_sent_nowhere(bucket: str, operator: Callable[..., Any], world: World) -> None:
    for name in ("source_bucket", "destination_bucket"):
        if bucket or name == "source_bucket":
            with pytest.raises(AirflowFailException, match="is not the name of a bucket; nothing was sent"):
                world.task(operator, **FOLDER, **{name: bucket}).run()


def test_a_folder_is_copied_with_the_folders_in_it(world: World) -> None:
    task = world.task(GCSCopyOperator, **FOLDER)

    assert task.run() == [f"gs://{world.archive}/{name}" for name in MOVED]
    assert (world.left(), world.archived()) == (sorted(OBJECTS), MOVED)
    assert world.text(world.archive, "old/ü c+d %.txt") == "c"


def test_a_copy_replaces_what_is_there(world: World) -> None:
    one = world.task(GCSCopyOperator, source_object="in/a.csv", destination_object="latest.csv", destination_bucket=None)
    one.run()
    world.servers.put(world.landing, {"in/a.csv": "newer"})
    one.run()

    assert (world.text(world.landing, "latest.csv"), world.text(world.landing, "in/a.csv")) == ("newer", "newer")


def test_killed_with_some_of_many_copied(world: World) -> None:
    task = world.task(GCSCopyOperator, **FOLDER)
    with world.gate.hold("POST", world.call("in/a.csv/rewriteTo/*")) as answer, task.killed_try():
        answer.wait()
    task.run()

    assert (world.left(), world.archived()) == (sorted(OBJECTS), MOVED)


def test_what_is_not_there_cannot_be_copied(world: World) -> None:
    missing = {"source_prefix": "in/", "destination_prefix": "x/", "match_glob": "**/*.xml"}
    with pytest.raises(AirflowFailException, match=rf"gs://{world.landing}/in/\*\*/\*\.xml: there is nothing to copy\. Check"):
        world.task(GCSCopyOperator, **missing).run()
    assert world.task(GCSCopyOperator, **missing, allow_missing=True).run() == []


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"source_object": "a"},
        {"source_object": "a", "destination_prefix": "b/"},
        {"source_object": "a", "destination_object": "b", "source_prefix": "c/"},
        {**FOLDER, "destination_object": "b"},
    ],
)
def test_source_and_destination_go_together(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="give source_object and destination_object, or"):
        GCSArchiveOperator(task_id="job", source_bucket="landing", **arguments)
