from __future__ import annotations

from pathlib import Path

import pytest

from provider.cli.example_commands import EXAMPLES, example_files

ROOT = Path(__file__).parents[3]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_they_are_one_text_with_those_of_the_repository() -> None:
    assert EXAMPLES.resolve() == ROOT / "examples"
    assert {"workflows.yaml", "emulators.yaml", "dags/README.md", "dags/bigquery_load.py"} <= set(example_files())


def test_they_are_written_and_left_alone(accelerator, tmp_path: Path) -> None:
    folder = tmp_path / "new folder"
    result = accelerator("examples", folder)
    assert (result.code, result.err) == (0, "")
    assert _files(folder) == example_files()
    assert f"wrote      {folder}/dags/bigquery_load.py\n" in result.out
    assert f"accelerator import '{folder}/workflows.yaml'" in result.out

    (folder / "emulators.yaml").unlink()
    out = accelerator("examples", folder).out
    assert f"wrote      {folder}/emulators.yaml\n" in out
    assert f"unchanged  {folder}/workflows.yaml\n" in out


def test_a_changed_file_is_kept(accelerator, tmp_path: Path) -> None:
    mine = tmp_path / "workflows.yaml"
    mine.write_text("# mine\n")
    result = accelerator("examples", tmp_path)
    assert result.code == 1
    assert mine.read_text() == "# mine\n"
    assert result.err.startswith("error: workflows.yaml differ from this version's examples")
    assert _files(tmp_path).keys() == example_files().keys()
    assert "Next" not in result.out


def test_without_a_folder_they_are_in_examples(accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert accelerator("examples").code == 0
    assert _files(tmp_path / "examples") == example_files()


def test_a_folder_that_cannot_be_written(accelerator, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = accelerator("examples", tmp_path / "file")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"error: cannot write {tmp_path / 'file'}")
