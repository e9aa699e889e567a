"""What the commands of the storms have in common."""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def add_seed_and_folder(parser: argparse.ArgumentParser, kept: str = "the Airflow home") -> None:
    """
    Let the command take ``--seed`` and ``--folder``.

    :param kept: what is in the folder.
    """
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--folder", type=Path, help=f"keep {kept} here")


@contextmanager
def home(folder: Path | None, prefix: str) -> Iterator[Path]:
    """Give a storm its folder: the one that was named, which stays, or a temporary one."""
    with tempfile.TemporaryDirectory(prefix=prefix) as temporary:
        found = folder or Path(temporary)
        found.mkdir(parents=True, exist_ok=True)
        yield found
