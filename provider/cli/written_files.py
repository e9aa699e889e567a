"""Files that a command writes for people: a file that a person changed is never lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from provider.exceptions import AcceleratorError
from provider.files import replace_file


def write_file(path: Path, content: bytes, *, force: bool) -> str:
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


@contextlib.contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """
    Tell a person of a folder or file that cannot be written.

    :raises AcceleratorError: instead of an :class:`OSError`, naming the path.
    """
    try:
        yield
    except OSError as error:
        path = error.filename2 or error.filename or folder
        raise AcceleratorError(f"cannot write {path}: {error.strerror}; name a folder that you may write to.") from error
