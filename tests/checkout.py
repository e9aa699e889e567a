"""A copy of this checkout, as a clone has it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tracked_files(*folders: str) -> list[str]:
    """Return the names of the files under version control, in these folders or in all."""
    command = ["git", "ls-files", "-z", *folders]
    return list(filter(None, subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")))


def copy_tracked_files(target: Path) -> None:
    """Copy what is under version control, as it is now."""
    for name in tracked_files():
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():  # a link to a folder is no file
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name, follow_symlinks=False)
