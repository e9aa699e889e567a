from __future__ import annotations

from pathlib import Path

import pytest

from provider.cli.dag_file_commands import TEMPLATES

DAGS = Path(__file__).parents[3] / "dags"


def test_templates_are_the_dag_files_of_the_repository() -> None:
    assert {path.name: path.read_bytes() for path in TEMPLATES.glob("*.py")} == {
        path.name: path.read_bytes() for path in DAGS.glob("*.py")
    }
    assert (DAGS / "maintenance.py").exists()


def test_init_writes_what_is_missing(accelerator, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "dags"
    result = accelerator("init", folder)
    assert result.code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in TEMPLATES.glob("*.py")
    }
    assert result.out.splitlines() == [f"wrote      {path}" for path in sorted(folder.iterdir())]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}

    (folder / "maintenance.py").unlink()
    lines = accelerator("init", folder).out.splitlines()
    assert f"wrote      {folder / 'maintenance.py'}" in lines
    assert len([line for line in lines if line.startswith("unchanged  ")]) == len(lines) - 1


def test_init_keeps_a_changed_file_unless_forced(accelerator, tmp_path: Path) -> None:
    accelerator("init", tmp_path)
    changed = tmp_path / "maintenance.py"
    changed.write_text("# mine\n")
    changed.chmod(0o600)
    result = accelerator("init", tmp_path)
    assert result.code == 1
    assert f"kept       {changed}\n" in result.out
    assert result.err.startswith("error: maintenance.py differ")
    assert changed.read_text() == "# mine\n"

    result = accelerator("init", tmp_path, "--force")
    assert result.code == 0
    assert f"overwrote  {changed}\n" in result.out
    assert changed.read_bytes() == (TEMPLATES / "maintenance.py").read_bytes()
    assert changed.stat().st_mode & 0o777 == 0o600


def test_init_leaves_nothing_behind_where_it_cannot_write(accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", full)
    result = accelerator("init", tmp_path)
    assert result.code == 1
    assert "No space left on device" in result.err
    assert list(tmp_path.iterdir()) == []


def _python_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.py")}


def test_init_spreads_the_workflows_over_dag_files_and_back(accelerator, tmp_path: Path) -> None:
    whole = {path.name for path in TEMPLATES.glob("*.py")}
    shards = {f"workflows_{number}_of_3.py" for number in (1, 2, 3)}
    accelerator("init", tmp_path)
    result = accelerator("init", tmp_path, "--shards", "3")

    assert (result.code, result.err) == (0, "")
    assert _python_files(tmp_path) == whole - {"workflows.py"} | shards
    assert "build_dags(shard=2, of=3)" in (tmp_path / "workflows_2_of_3.py").read_text()
    assert "raise_definition_errors(shards=3)" in (tmp_path / "definition_errors.py").read_text()
    # An upgrade keeps the number.
    result = accelerator("init", tmp_path)
    assert (result.code, {line.split()[0] for line in result.out.splitlines()}) == (0, {"unchanged"})

    assert accelerator("init", tmp_path, "--shards", "1").code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in TEMPLATES.glob("*.py")
    }


def test_init_does_not_remove_a_changed_file_of_another_number_of_shards(accelerator, tmp_path: Path) -> None:
    accelerator("init", tmp_path)
    (tmp_path / "workflows.py").write_text("# mine\n")
    result = accelerator("init", tmp_path, "--shards", "2")

    assert (result.code, "error: workflows.py differ" in result.err) == (1, True)
    assert (tmp_path / "workflows.py").read_text() == "# mine\n"
    assert "has DAG files of 1 and 2 shards; say with --shards" in accelerator("init", tmp_path).err
    assert accelerator("init", tmp_path, "--shards", "2", "--force").code == 0
    assert not (tmp_path / "workflows.py").exists()


def test_init_into_what_is_no_folder(accelerator, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "dags"):
        result = accelerator("init", folder)
        assert result.code == 1
        assert result.err.startswith(f"error: cannot write {folder}: ")


@pytest.fixture
def airflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Airflow's own DAG folder; AIRFLOW_HOME is not set."""
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path / "airflows"))
    monkeypatch.delenv("AIRFLOW_HOME", raising=False)
    return tmp_path / "airflows"


def test_init_without_a_folder_takes_airflows_own(accelerator, airflows: Path) -> None:
    result = accelerator("init")
    assert result.code == 0, result.err
    assert _python_files(airflows) == {path.name for path in TEMPLATES.glob("*.py")}


@pytest.mark.parametrize("folder", ["/dags", "/dags/", "/dags/accelerator"])
def test_init_does_not_take_what_an_unset_variable_leaves(
    accelerator, airflows: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(Path, "mkdir", lambda self, **_: made.append(self))
    result = accelerator("init", folder)
    assert (result.code, result.out, made) == (1, "", [])
    assert result.err.startswith(f"error: {Path(folder)} is at the root of this machine, as $AIRFLOW_HOME/dags is where")

    # Where it is meant, it is taken.
    monkeypatch.setattr(Path, "mkdir", _refused)
    for name, value in (("AIRFLOW_HOME", str(airflows)), ("AIRFLOW__CORE__DAGS_FOLDER", "/dags")):
        with monkeypatch.context() as set_:
            set_.setenv(name, value)
            assert accelerator("init", folder).err.startswith(f"error: cannot write {Path(folder)}: not today")


def _refused(folder: Path, **_: object) -> None:
    raise OSError(1, "not today", str(folder))


@pytest.mark.parametrize("folder", ["", " "])
def test_init_takes_no_empty_name(accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = accelerator("init", folder)
    assert (result.code, list(tmp_path.iterdir())) == (1, [])
    assert result.err == "error: the folder's name is empty; leave it out for Airflow's own DAG folder.\n"
