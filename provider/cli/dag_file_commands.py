"""``accelerator init``: writes the DAG files, which are not importable from the wheel, into a DAG folder."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from provider.airflow_internals.dags import dags_folder
from provider.cli.output import say
from provider.cli.written_files import write_file, writing_into
from provider.exceptions import AcceleratorError

#: In the repository these are links to ``dags/``, so that there is one text of each file; in the wheel they are files.
TEMPLATES = Path(__file__).parent / "templates"

_WORKFLOWS, _ERRORS = "workflows.py", "definition_errors.py"
_SHARD = re.compile(r"workflows_(\d+)_of_(\d+)\.py")


def init(args: argparse.Namespace) -> int:
    """
    Write each DAG file that is missing; leave those that a person changed, unless told otherwise.

    :raises AcceleratorError: the folder is none that is meant, or cannot be written.
    """
    folder = _dag_folder(args.folder)
    kept = []
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = _found_shards(folder)
        if args.shards is None and len(found) > 1:
            counts = " and ".join(str(count) for count in sorted(found))
            raise AcceleratorError(f"{folder} has DAG files of {counts} shards; say with --shards how many there should be.")
        count = args.shards or next(iter(found), 1)
        wanted = dag_files(count)
        for name in sorted(wanted):
            outcome = write_file(folder / name, wanted[name], force=args.force or _is_ours(folder / name, found))
            say(f"{outcome:<11}{folder / name}")
            if outcome == "kept":
                kept.append(name)
        for old in sorted(found - {count}):
            kept += _remove(folder, {name: text for name, text in dag_files(old).items() if name not in wanted}, force=args.force)
    if kept:
        sys.stderr.write(
            f"error: {', '.join(kept)} differ from this version's files and were left as they are; "
            "compare them, or overwrite them with --force.\n"
        )
        return 1
    return 0


def _dag_folder(named: str | None) -> Path:
    """
    Return the folder that was named, else Airflow's own.

    :raises AcceleratorError: its name is what an unset variable leaves of another one.
    """
    if named is None:
        return dags_folder()
    if not named.strip():
        raise AcceleratorError("the folder's name is empty; leave it out for Airflow's own DAG folder.")
    folder = Path(named).expanduser()
    # "$AIRFLOW_HOME/dags" without that variable. Who has his DAGs there has told Airflow.
    if folder.is_relative_to("/dags") and not os.environ.get("AIRFLOW_HOME") and not folder.is_relative_to(dags_folder()):
        raise AcceleratorError(
            f"{folder} is at the root of this machine, as $AIRFLOW_HOME/dags is where AIRFLOW_HOME is not set; "
            "leave it out for Airflow's own DAG folder."
        )
    return folder


def dag_files(shards: int) -> dict[str, bytes]:
    """
    Return the DAG files by their names.

    :param shards: over so many of them the workflows are spread.
    """
    files = {path.name: path.read_bytes() for path in sorted(TEMPLATES.glob("*.py"))}
    if shards > 1:
        whole = files.pop(_WORKFLOWS)
        for number in range(1, shards + 1):
            call = f"build_dags(shard={number}, of={shards})".encode()
            files[f"workflows_{number}_of_{shards}.py"] = whole.replace(b"build_dags()", call)
        files[_ERRORS] = files[_ERRORS].replace(
            b"raise_definition_errors()", f"raise_definition_errors(shards={shards})".encode()
        )
    return files


def _found_shards(folder: Path) -> set[int]:
    """Return over how many DAG files the workflows of a folder are spread; several answers while that is half changed."""
    counts = {int(match[2]) for path in folder.iterdir() if (match := _SHARD.fullmatch(path.name))}
    return counts | ({1} if (folder / _WORKFLOWS).exists() else set())


def _is_ours(path: Path, shards: set[int]) -> bool:
    """Return whether a file is as it was written for one of these numbers of shards."""
    return path.exists() and any(path.read_bytes() == dag_files(count).get(path.name) for count in shards)


def _remove(folder: Path, files: dict[str, bytes], *, force: bool) -> list[str]:
    """Remove files of another number of shards, which would make every DAG twice; return those that a person changed."""
    kept = []
    for name, text in sorted(files.items()):
        path = folder / name
        if not path.exists():
            continue
        if path.read_bytes() == text or force:
            path.unlink()
            sys.stdout.write(f"removed    {path}\n")
        else:
            kept.append(name)
    return kept
