from __future__ import annotations

import fnmatch
from typing import Any

import pytest
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.sdk.exceptions import AirflowFailException

from provider.exceptions import ConfigurationError
from provider.operators.gcs import GCSArchiveOperator
from tests.provider.operators.conftest import FakeTaskInstance, Store


class Buckets:
    """Objects by bucket; a worker can die after any number of copies."""

    def __init__(self, **buckets: list[str]) -> None:
        self.objects = {name: dict.fromkeys(names, name) for name, names in buckets.items()}
        self.dies_after: int | None = None

    def names(self, bucket: str) -> list[str]:
        return sorted(self.objects.setdefault(bucket, {}))

    def list(self, bucket: str, prefix: str, match_glob: str | None = None, **_: Any) -> list[str]:
        return [name for name in self.names(bucket) if name.startswith(prefix) and fnmatch.fnmatch(name, match_glob or "*")]

    def exists(self, bucket: str, name: str) -> bool:
        return name in self.objects.setdefault(bucket, {})

    def rewrite(self, bucket: str, name: str, to_bucket: str, to_name: str) -> None:
        if self.dies_after == 0:
            raise KeyboardInterrupt
        if self.dies_after is not None:
            self.dies_after -= 1
        self.objects.setdefault(to_bucket, {})[to_name] = self.objects[bucket][name]

    def delete(self, bucket: str, name: str) -> None:
        del self.objects[bucket][name]


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> Buckets:
    buckets = Buckets(landing=["in/", "in/a.csv", "in/2026/b.csv", "in/c.txt", "inside.csv"])
    for name in ("list", "exists", "rewrite", "delete"):
        method = getattr(buckets, name)
        monkeypatch.setattr(GCSHook, name, lambda self, *args, _method=method, **kwargs: _method(*args, **kwargs))
    monkeypatch.setattr(GCSHook, "__init__", lambda self, **_: None)
    return buckets


class Task:
    def __init__(self, **arguments: Any) -> None:
        self.arguments, self.store = {"source_bucket": "landing", **arguments}, Store()
        self.ti = FakeTaskInstance(try_number=0, max_tries=2)

    def attempt(self) -> list[str]:
        self.ti.try_number += 1
        operator = GCSArchiveOperator(task_id="archive", **self.arguments)
        context: Any = {"ti": self.ti, "task_state_store": self.store}
        return operator.execute(context)


FOLDER = {"source_prefix": "in/", "destination_prefix": "old/"}


def test_a_folder_moves_with_the_folders_in_it(buckets: Buckets) -> None:
    assert Task(**FOLDER).attempt() == ["gs://landing/old/2026/b.csv", "gs://landing/old/a.csv", "gs://landing/old/c.txt"]
    assert buckets.names("landing") == ["in/", "inside.csv", "old/2026/b.csv", "old/a.csv", "old/c.txt"]


def test_one_object_of_a_folder_keeps_its_place_too(buckets: Buckets) -> None:
    moved = Task(**FOLDER, match_glob="**/b.csv", destination_bucket="archive").attempt()

    assert (moved, buckets.names("archive")) == (["gs://archive/old/2026/b.csv"], ["old/2026/b.csv"])


def test_one_object_moves(buckets: Buckets) -> None:
    moved = Task(source_object="in/a.csv", destination_object="old/a-1.csv").attempt()

    assert moved == ["gs://landing/old/a-1.csv"]
    assert not buckets.exists("landing", "in/a.csv")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"source_object": "in/a", "destination_object": "x"}, "in/a"),
        ({"source_prefix": "none/", "destination_prefix": "x/"}, "none/*"),
        ({**FOLDER, "match_glob": "**/*.xml"}, "in/**/*.xml"),
    ],
)
def test_a_missing_source_is_an_error_unless_it_is_allowed(arguments: dict[str, str], name: str, buckets: Buckets) -> None:
    with pytest.raises(AirflowFailException, match="there is nothing to move") as error:
        Task(**arguments).attempt()

    assert f"gs://landing/{name}:" in str(error.value)
    assert Task(**arguments, allow_missing=True).attempt() == []


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_a_retry_goes_on(copies: int, buckets: Buckets) -> None:
    task = Task(**FOLDER)
    buckets.dies_after = copies
    with pytest.raises(KeyboardInterrupt):
        task.attempt()
    buckets.dies_after = None
    task.attempt()

    assert buckets.names("landing") == ["in/", "inside.csv", "old/2026/b.csv", "old/a.csv", "old/c.txt"]


def test_a_retry_after_everything_was_moved_is_a_success_and_a_clear_is_not(buckets: Buckets) -> None:
    task = Task(**FOLDER)
    task.attempt()

    assert task.attempt() == []
    task.ti.max_tries = 4
    with pytest.raises(AirflowFailException, match="there is nothing to move"):
        task.attempt()


@pytest.mark.parametrize(
    "arguments",
    [
        {"source_object": "in/a.csv", "destination_object": "in/a.csv"},
        {"source_prefix": "in/", "destination_prefix": "in/"},
        {"source_prefix": "in/", "destination_prefix": "in/old/", "destination_bucket": "landing"},
        {"source_prefix": "in", "destination_prefix": "old/"},
        {"source_prefix": "/", "destination_prefix": "old/"},
    ],
)
def test_nothing_is_moved_onto_itself(arguments: dict[str, str], buckets: Buckets) -> None:
    before = buckets.names("landing")
    with pytest.raises(AirflowFailException, match="source itself or in it|must be the name of a folder"):
        Task(**arguments).attempt()

    assert buckets.names("landing") == before


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
def test_source_and_destination_go_together(arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="give source_object and destination_object, or"):
        Task(**arguments).attempt()
