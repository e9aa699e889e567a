from __future__ import annotations

from pathlib import Path

import pytest

from dag_factory import snapshot
from dag_factory.snapshot import Snapshot, Waiting
from provider.metadata.workflow_rows import Entry, Shard

WHOLE = Shard()


def entry(workflow_id: str, *tasks: str) -> Entry:
    return {"workflow": {"workflow_id": workflow_id}, "tasks": [{"task_id": task} for task in tasks], "dependencies": []}


HEAD = '{"count": 1, "format": 1, "held": [], "version": 0, "waiting": {}}'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "7",
        "null",
        "{}",
        HEAD,
        HEAD + "\n[]",
        HEAD + '\n["a", {}]',
        HEAD + '\n["a", {"workflow": {"workflow_id": "b"}, "tasks": [], "dependencies": []}]',
        HEAD + '\n["a", {"workflow": {"workflow_id": "a"}, "tasks": [3], "dependencies": []}]',
        HEAD.replace("[]", "3"),
        HEAD.replace('"format": 1', '"format": 2'),
        "[" * 100_000,
        "\x00\xff",
    ],
)
def test_a_file_of_another_kind_is_refused(content: str, snapshot_file: Path) -> None:
    snapshot_file.parent.mkdir()
    snapshot_file.write_bytes(content.encode("latin-1"))

    with pytest.raises(snapshot.DamagedSnapshotError, match="is damaged, or another version's"):
        snapshot.load(WHOLE)


def test_a_snapshot_is_read_as_it_was_written() -> None:
    entries = {"é": entry("é", "t"), "a.b": entry("a.b", "u", "v"), "a": entry("a")}
    written = Snapshot(entries, {"a": Waiting(None, 3.0)}, frozenset("a"), 7)
    snapshot.save(written, WHOLE)

    assert snapshot.load(WHOLE) == written
    assert snapshot.load(WHOLE).rows(["é", "gone"]).tasks == [{"task_id": "t"}]
    for workflow_id, found in entries.items():
        assert snapshot.load(WHOLE, workflow_id).entries == {workflow_id: found}
    assert snapshot.load(WHOLE, "gone").entries == {}


def test_a_new_number_of_shards_takes_the_workflows_of_the_old_one() -> None:
    entries = {name: entry(name) for name in "abcdefgh"}
    snapshot.save(Snapshot(entries, version=5), WHOLE)
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    parts = [snapshot.load(shard) for shard in shards]

    assert sorted(name for part in parts for name in part.entries) == sorted(entries)
    assert all(part.version == 5 and part.entries for part in parts)
    snapshot.save(parts[0], shards[0])
    assert snapshot.load(shards[0]).entries == parts[0].entries


def test_a_write_that_fails_leaves_the_old_one(snapshot_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot.save(Snapshot(), WHOLE)
    before = snapshot_file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("provider.files.os.fsync", full)
    with pytest.raises(snapshot.SnapshotError, match="No space left on device"):
        snapshot.save(Snapshot({"a": entry("a")}), WHOLE)

    assert snapshot_file.read_bytes() == before
    assert [path.name for path in snapshot_file.parent.iterdir()] == [snapshot_file.name]
