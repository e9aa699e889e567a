"""
A mark beside the snapshot: the application database was away a moment ago.

Whoever finds it builds from the snapshot at once, instead of waiting for a database that has just not answered another
process; once it is old, the next one looks again.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from dag_factory import snapshot
from provider.files import replace_file

log = logging.getLogger(__name__)

#: So long, in seconds, one failed look counts for all processes.
SECONDS = 20.0


def reason() -> str | None:
    """Return why the last look failed, where that is not long ago."""
    file = _file()
    try:
        age = time.time() - file.stat().st_mtime
        return file.read_text(encoding="utf-8") if 0 <= age < SECONDS else None
    except (OSError, UnicodeDecodeError):
        return None


def begins(text: str) -> None:
    """Note that a look has failed."""
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, text.encode())
    except OSError as error:
        log.warning("%s cannot be written (%s), so each process waits for the database by itself.", file, error.strerror)


def ends() -> None:
    """Note that a look has been answered."""
    try:
        _file().unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be deleted (%s); it counts for a moment only.", _file(), error.strerror)


def _file() -> Path:
    return snapshot.folder() / "database-away"
