from __future__ import annotations

import json
from pathlib import Path

import pytest

from dag_factory import snapshot
from dag_factory.snapshot import Entry, Snapshot

ENTRY: Entry = {"workflow": {}, "tasks": [], "dependencies": []}


@pytest.mark.parametrize(
    ("before", "now", "missing"),
    [
        ("", "", ""),
        ("", "abc", ""),
        ("a", "", "a"),
        ("ab", "a", ""),
        ("abc", "a", ""),
        ("abcde", "ab", "cde"),
        ("abcdef", "abc", ""),
        ("abcdef", "abx", "cdef"),
        ("ab", "xy", "ab"),
    ],
)
def test_what_looks_like_another_database(before: str, now: str, missing: str) -> None:
    assert snapshot.still_missing(Snapshot(dict.fromkeys(before, ENTRY)), list(now)) == list(missing)


def test_what_is_missing_stays_missing_until_it_is_back() -> None:
    last_good = Snapshot(dict.fromkeys("abcdef", ENTRY), frozenset("ab"))

    assert snapshot.still_missing(last_good, "cdef") == ["a", "b"]
    assert snapshot.still_missing(last_good, "acde") == ["b"]
    assert snapshot.still_missing(last_good, "cdefghi") == ["a", "b"]
    assert snapshot.still_missing(last_good, "f") == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "7",
        "null",
        "{}",
        '{"format": 1, "workflows": []}',
        '{"format": 1, "workflows": {"a": {}}}',
        "[" * 100_000,
        '{"format": 2, "workflows": {}, "missing": []}',
        '{"format": 1, "workflows": {}, "missing": 3}',
    ],
)
def test_a_file_of_another_kind_is_refused(content: str, snapshot_file: Path) -> None:
    snapshot_file.parent.mkdir()
    snapshot_file.write_text(content)

    with pytest.raises(snapshot.SnapshotError, match="delete it, it is made anew"):
        snapshot.load()


def test_a_snapshot_is_read_as_it_was_written(snapshot_file: Path) -> None:
    entry: Entry = {"workflow": {"workflow_id": "é"}, "tasks": [{"task_id": "t"}], "dependencies": []}
    snapshot.save(Snapshot({"é": entry}))

    assert snapshot.load().entries == {"é": entry}
    assert snapshot.load().rows(["é", "gone"]).tasks == [{"task_id": "t"}]
    assert json.loads(snapshot_file.read_bytes())["format"] == 1


def test_a_write_that_fails_leaves_the_old_one(snapshot_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot.save(Snapshot())
    before = snapshot_file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("provider.files.os.fsync", full)
    entry: Entry = {"workflow": {"workflow_id": "a"}, "tasks": [], "dependencies": []}
    with pytest.raises(snapshot.SnapshotError, match="No space left on device"):
        snapshot.save(Snapshot({"a": entry}))

    assert snapshot_file.read_bytes() == before
    assert [path.name for path in snapshot_file.parent.iterdir()] == [snapshot_file.name]
