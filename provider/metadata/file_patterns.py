"""Which files start a workflow: ``workflows.file_pattern`` against the address of an object."""

from __future__ import annotations

import re

_PATTERN = re.compile(r"gs://[^/]+/.+", re.DOTALL)


def check_file_pattern(pattern: str) -> str:
    """
    Return a pattern that can match the address of an object.

    :raises ValueError: it is none.
    """
    if not _PATTERN.fullmatch(pattern):
        raise ValueError("must be the address of objects, such as gs://landing/sales/*.csv")
    return pattern


def matches(pattern: str, bucket: str, name: str) -> bool:
    """
    Tell whether an object's address matches a pattern.

    ``*`` and ``?`` stand for anything but ``/``, ``**`` as a part of its own for any number of folders, ``[ab]`` for one of these
    characters, ``{csv,json}`` for one of these words, as in https://cloud.google.com/storage/docs/json_api/v1/objects/list.

    :param pattern: such as ``gs://landing/sales/**/*.csv``.
    :param bucket: name of the bucket.
    :param name: name of the object.
    """
    from wcmatch import glob

    flags = glob.GLOBSTAR | glob.BRACE | glob.CASE | glob.DOTGLOB | glob.FORCEUNIX
    # Without the scheme, whose two slashes would be an empty folder.
    return bool(glob.globmatch(f"{bucket}/{name}", pattern.removeprefix("gs://"), flags=flags))
