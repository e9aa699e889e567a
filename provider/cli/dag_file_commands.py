"""``accelerator init``: writes the DAG files, which are not importable from the wheel, into a DAG folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from provider.cli.output import say
from provider.exceptions import AcceleratorError
from provider.files import replace_file

#: In the repository these are links to ``dags/``, so that there is one text of each file; in the wheel they are files.
TEMPLATES = Path(__file__).parent / "templates"


def init(args: argparse.Namespace) -> int:
    """Write each DAG file that is missing; leave those that a person changed, unless told otherwise."""
    folder = Path(args.folder).expanduser()
    kept = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for template in sorted(TEMPLATES.glob("*.py")):
            outcome = write_dag_file(folder / template.name, template.read_bytes(), force=args.force)
            say(f"{outcome:<11}{folder / template.name}")
            if outcome == "kept":
                kept.append(template.name)
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
