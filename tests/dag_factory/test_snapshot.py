from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dag_factory import snapshot
from dag_factory.snapshot import Agreement, Snapshot, Waiting
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Entry, Loss, Shard

WHOLE = Shard()


def entry(workflow_id: str, *tasks: str) -> Entry:
    return {"workflow": {"workflow_id": workflow_id}, "tasks": [{"task_id": task} for task in tasks], "dependencies": []}


HEAD = '{"count": 1, "format": 1, "held": [], "meant": {}, "predecessors": {}, "version": 0, "waiting": {}}'
GOOD = '["a", {"workflow": {"workflow_id": "a"}, "tasks": [], "dependencies": []}]'


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
        HEAD.replace("[]", "3") + f"\n{GOOD}",
        "[" * 100_000,
        "\x00\xff",
    ],
)
def test_a_file_of_another_kind_is_refused(content: str, snapshot_file: Path) -> None:
    snapshot_file.parent.mkdir()
    snapshot_file.write_bytes(content.encode("latin-1"))

    with pytest.raises(snapshot.DamagedSnapshotError, match="is damaged, or another version's"):
        snapshot.load(WHOLE)


@pytest.mark.parametrize(("good", "bad"), [('"format": 1', '"format": 2'), ('"count": 1', '"count": 2')])
def test_the_cause_tells_which_part_of_the_head_is_wrong(good: str, bad: str, snapshot_file: Path) -> None:
    snapshot_file.parent.mkdir()
    snapshot_file.write_text(f"{HEAD}\n{GOOD}\n")
    assert snapshot.load(WHOLE).entries == {"a": entry("a")}
    snapshot_file.write_text(f"{HEAD}\n{GOOD}\n".replace(good, bad))

    with pytest.raises(snapshot.DamagedSnapshotError) as caught:
        snapshot.load(WHOLE)
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.args == (good.split('"')[1],)


def test_a_snapshot_that_was_never_written_is_empty() -> None:
    assert snapshot.load(WHOLE) == Snapshot()


def test_a_snapshot_is_read_as_it_was_written() -> None:
    entries = {"é": entry("é", "t"), "a.b": entry("a.b", "u", "v"), "a": entry("a")}
    meant = {"a": Loss(frozenset({"x", "y"}), frozenset({("x", "y"), ("y", "z")})), "é": Loss(frozenset({"x"}))}
    written = Snapshot(entries, {"a": Waiting(None, 3.0)}, frozenset("a"), 7, meant, {"a": ["b", "x://c"]})
    snapshot.save(written, WHOLE)

    assert snapshot.load(WHOLE) == written
    assert snapshot.load(WHOLE).rows(["é", "gone"]).tasks == [{"task_id": "t"}]
    for workflow_id, found in entries.items():
        assert snapshot.load(WHOLE, workflow_id).entries == {workflow_id: found}
    assert snapshot.load(WHOLE, "gone").entries == {}


def test_the_rows_of_a_task_are_found_without_reading_the_whole_file(snapshot_file: Path) -> None:
    """Wherever the workflow stands, however long its line is; what is next to it in the file does not count."""
    ids = sorted([*(f"w{number}" for number in range(40)), "a", "a-b", "a.b", "zzz", "é"])
    entries = {workflow_id: chain(workflow_id, "x" * (7 * number)) for number, workflow_id in enumerate(ids)}
    snapshot.save(Snapshot(entries), WHOLE)

    for workflow_id, found in entries.items():
        rows = Snapshot({workflow_id: found}).rows([workflow_id])
        assert snapshot.agrees(WHOLE, workflow_id, "b", rows) is Agreement.SAME, workflow_id
        for changed in (
            DefinitionRows([{**rows.workflows[0], "owner": "eve"}], rows.tasks, rows.dependencies),
            DefinitionRows(rows.workflows, [{**rows.tasks[0], "retries": 3}, *rows.tasks[1:]], rows.dependencies),
            DefinitionRows(rows.workflows, rows.tasks, rows.dependencies[1:]),
            DefinitionRows(rows.workflows, rows.tasks, [rows.dependencies[0], {"child_id": "b", "parent_id": "q"}]),
        ):
            assert snapshot.agrees(WHOLE, workflow_id, "b", changed) is Agreement.DIFFERS, workflow_id
        assert snapshot.agrees(WHOLE, workflow_id + "-", "b", rows) is Agreement.SILENT


def chain(workflow_id: str, description: str) -> Entry:
    return {
        "workflow": {"workflow_id": workflow_id, "description": description},
        "tasks": [{"task_id": task_id} for task_id in "abc"],
        "dependencies": [{"child_id": "b", "parent_id": "a"}, {"child_id": "c", "parent_id": "b"}],
    }


def test_a_new_number_of_shards_takes_the_workflows_of_the_old_one() -> None:
    entries = {name: entry(name) for name in "abcdefgh"}
    snapshot.save(Snapshot(entries, version=5, predecessors={"a": ["b"]}), WHOLE)
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    parts = [snapshot.load(shard) for shard in shards]

    assert sorted(name for part in parts for name in part.entries) == sorted(entries)
    assert all(part.version == 5 and part.entries and part.predecessors == {"a": ["b"]} for part in parts)
    for shard, part in zip(shards, parts, strict=True):
        assert snapshot.load(shard, min(part.entries)).entries == {min(part.entries): entry(min(part.entries))}
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


def test_the_folder_is_made_with_all_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, make in enumerate([snapshot.check_folder, lambda: snapshot.save(Snapshot(), WHOLE)]):
        folder = tmp_path / str(number) / "deep" / "down"
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SNAPSHOT_DIR", str(folder))
        make()
        assert folder.is_dir()


def test_a_folder_that_nobody_may_write_to_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SNAPSHOT_DIR", "/proc/self")  # nobody may, root neither
    with pytest.raises(snapshot.SnapshotError, match="/proc/self"):
        snapshot.check_folder()


def test_what_is_still_true_is_touched_and_not_written(snapshot_file: Path) -> None:
    assert snapshot.write(snapshot_file, b"one")
    os.utime(snapshot_file, (0, 0))

    assert not snapshot.write(snapshot_file, b"one")
    assert snapshot_file.stat().st_mtime > 0
    assert snapshot.write(snapshot_file, b"two")
    assert snapshot_file.read_bytes() == b"two"


def test_a_damaged_one_that_cannot_be_put_aside_is_to_be_deleted(snapshot_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot.put_aside(WHOLE)  # another parse was faster
    snapshot.write(snapshot_file, b"damaged")

    def refuse(path: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(snapshot.SnapshotError) as caught:
        snapshot.put_aside(WHOLE)
    assert str(caught.value) == f"{snapshot_file} is damaged and cannot be put aside (Permission denied); delete it."


@pytest.mark.parametrize(
    ("interval", "age", "followed"),
    [
        ("30", 599.5, True),
        ("30", 600.0, False),
        ("30", 600.5, False),
        ("200", 999.5, True),
        ("200", 1000.0, False),
        ("200", 1000.5, False),
    ],
)
def test_a_file_is_followed_that_was_touched_within_ten_minutes_or_five_parses(
    interval: str, age: float, followed: bool, snapshot_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL", interval)
    assert not snapshot.is_followed(snapshot_file)
    snapshot.write(snapshot_file, b"")
    os.utime(snapshot_file, (1000.0, 1000.0))
    monkeypatch.setattr(time, "time", lambda: 1000.0 + age)

    assert snapshot.is_followed(snapshot_file) is followed


def test_the_definitions_are_those_of_all_files_that_are_followed(snapshot_file: Path) -> None:
    assert snapshot.load_followed() is None
    snapshot.save(Snapshot({"old": entry("old")}), WHOLE)
    os.utime(snapshot_file, (0, 0))
    assert snapshot.load_followed() is None

    for number, name in enumerate("ab", 1):
        snapshot_file.with_name(f"definitions-{number}-of-2.json").write_text(f"{HEAD}\n{GOOD}\n".replace('"a"', f'"{name}"'))
    assert snapshot.load_followed() == {"a": entry("a"), "b": entry("b")}


def test_files_of_another_number_of_shards_are_deleted_a_day_after_their_last_parse(snapshot_file: Path) -> None:
    folder = snapshot_file.parent
    folder.mkdir()
    now = time.time()
    for name, age in {
        "definitions.json": 86_300,
        "definitions-1-of-2.json": 86_500,
        "definitions-2-of-3.json": 86_500,
        "definitions-3-of-3.json": 86_300,
        "other.json": 86_500,
    }.items():
        (folder / name).touch()
        os.utime(folder / name, (now - age, now - age))
    snapshot.save(Snapshot(), Shard(1, 3))

    assert sorted(path.name for path in folder.iterdir()) == [
        "definitions-1-of-3.json",
        "definitions-2-of-3.json",
        "definitions-3-of-3.json",
        "definitions.json",
        "other.json",
    ]
