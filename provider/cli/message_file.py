"""What a message says, from a file or from standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from provider.exceptions import AcceleratorError
from provider.message_json import MAX_BYTES


def read_message(file: str) -> bytes:
    """
    Return the content of a file: of one that is too large, so much that the inbox refuses it as well.

    :param file: ``-`` is standard input.
    :raises AcceleratorError: it cannot be read.
    """
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(file).open("rb") as source:
            return source.read(MAX_BYTES + 1)
    except OSError as error:
        raise AcceleratorError(f"{file} cannot be read: {error.strerror}.") from error
