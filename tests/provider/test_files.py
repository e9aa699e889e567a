"""Files: by the umask, for the group at most, and no symbolic link is followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from provider.files import replace_file
from provider.metadata import engine


@pytest.fixture(params=[0o077, 0o022, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_file_is_for_its_group_at_most(tmp_path: Path, umask: int) -> None:
    replace_file(tmp_path / "a", b"x")
    assert mode(tmp_path / "a") == 0o640 & ~umask
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o640), (0o600, 0o600), (0o666, 0o640)])
def test_a_file_that_was_there_is_for_its_group_at_most(tmp_path: Path, before: int, after: int) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(before)
    replace_file(tmp_path / "a", b"new")
    assert (mode(tmp_path / "a"), (tmp_path / "a").read_text()) == (after, "new")


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "precious")
    replace_file(tmp_path / "a", b"new")
    assert ((tmp_path / "precious").read_text(), (tmp_path / "a").is_symlink()) == ("precious", False)
    (tmp_path / "b").symlink_to(tmp_path / "nowhere")
    replace_file(tmp_path / "b", b"new")
    assert not (tmp_path / "nowhere").exists()


def test_the_embedded_database_is_for_its_group_at_most(tmp_path: Path, umask: int) -> None:
    url = f"sqlite:///{tmp_path}/folder/a.db"
    with engine.write_session(url):
        files = {path.name: mode(path) for path in (tmp_path / "folder").iterdir()}
    assert set(files.values()) == {0o640 & ~umask}
    assert "a.db" in files
    engine.dispose_engines()
