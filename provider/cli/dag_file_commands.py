"""``accelerator init``: writes the DAG files, which are not importable from the wheel, into a DAG folder."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from provider.cli.output import say
from provider.exceptions import AcceleratorError
from provider.files import replace_file

#: In the repository these are links to ``dags/``, so that there is one text of each file; in the wheel they are files.
TEMPLATES = Path(__file__).parent / "templates"

_WORKFLOWS, _ERRORS = "workflows.py", "definition_errors.py"
_SHARD = re.compile(r"workflows_(\d+)_of_(\d+)\.py")


def init(args: argparse.Namespace) -> int:
    """Write each DAG file that is missing; leave those that a person changed, unless told otherwise."""
    folder = Path(args.folder).expanduser()
    kept = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _found_shards(folder)
        if args.shards is None and len(found) > 1:
            counts = " and ".join(str(count) for count in sorted(found))
            raise AcceleratorError(f"{folder} has DAG files of {counts} shards; say with --shards how many there should be.")
        count = args.shards or next(iter(found), 1)
        wanted = dag_files(count)
        for name in sorted(wanted):
            outcome = write_dag_file(folder / name, wanted[name], force=args.force or _is_ours(folder / name, found))
            say(f"{outcome:<11}{folder / name}")
            if outcome == "kept":
                kept.append(name)
        for old in sorted(found - {count}):
            kept += _remove(folder, {name: text for name, text in dag_files(old).items() if name not in wanted}, force=args.force)
    except OSError as error:
        path = error.filename2 or error.filename or folder
        raise AcceleratorError(f"cannot write {path}: {error.strerror}; name a folder that you may write to.") from error
    if kept:
        sys.stderr.write(
            f"error: {', '.join(kept)} differ from this version's files and were left as they are; "
            "compare them, or overwrite them with --force.\n"
        )
        return 1
    return 0


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


def write_dag_file(path: Path, content: bytes, *, force: bool) -> str:
    """
    Write one file in one step, since Airflow may read it at any moment.

    :param force: overwrite a file with other content.
    :return: ``wrote``, ``overwrote``, ``unchanged`` or ``kept`` (other content, not forced).
    :raises OSError: the file cannot be read or written.
    """
    exists = path.exists()
    if exists and path.read_bytes() == content:
        return "unchanged"
    if exists and not force:
        return "kept"
    replace_file(path, content, mode=0o664)  # no secrets, and read by all of Airflow's processes, which may be several users'
    return "overwrote" if exists else "wrote"
