"""Writing a file that others may be reading."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path


def replace_file(path: Path, content: bytes, *, mode: int = 0o640) -> None:
    """
    Write a file in one step, so that a reader sees the old content or the new one, never a part.

    A symbolic link is replaced, not followed.

    :param mode: the most that a new file permits, as the umask says; an existing one keeps what of its mode is in this.
    :raises OSError: the folder cannot be written.
    """
    temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if (kept := _mode(path)) is not None:
                os.fchmod(file.fileno(), kept & mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int | None:
    """Return the permissions of a file; None where there is none of its own."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else None
