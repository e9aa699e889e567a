"""Which files start a workflow: ``workflows.file_pattern`` against the address of an object."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

#: Most patterns that the braces of one may stand for.
MAX_ALTERNATIVES = 100

_PATTERN = re.compile(r"gs://[^/]+/.+", re.DOTALL)


def check_file_pattern(pattern: str) -> str:
    """
    Return a pattern that can match the address of an object.

    :raises ValueError: it is none.
    """
    if not _PATTERN.fullmatch(pattern):
        raise ValueError("must be the address of objects, such as gs://landing/sales/*.csv")
    _alternatives(pattern)
    return pattern


def matches(pattern: str, bucket: str, name: str) -> bool:
    """
    Tell whether an object's address matches a pattern; one that :func:`check_file_pattern` refuses matches nothing.

    ``*`` and ``?`` stand for anything but ``/``, ``**`` as a part of its own for any number of folders, ``[ab]`` for one of these
    characters, ``{csv,json}`` for one of these words, as in https://cloud.google.com/storage/docs/json_api/v1/objects/list.
    Letters with accents may be one character or several (Unicode NFC, NFD): that makes no difference.

    :param pattern: such as ``gs://landing/sales/**/*.csv``.
    :param bucket: name of the bucket.
    :param name: name of the object.
    """
    try:
        # Without the scheme, whose two slashes would be an empty folder.
        alternatives = _alternatives(unicodedata.normalize("NFC", pattern.removeprefix("gs://")))
    except ValueError:
        return False
    address = [bucket, *unicodedata.normalize("NFC", name).split("/")]
    return any(_matches_parts(alternative.split("/"), address) for alternative in alternatives)


def _alternatives(pattern: str) -> Collection[str]:
    """
    Return the patterns without braces that a pattern stands for.

    :raises ValueError: they are too many, or their braces too deep.
    """
    import bracex

    try:
        # How deep a RecursionError comes depends on the version of Python; a pattern is right or wrong on all of them.
        if pattern.count("{") <= MAX_ALTERNATIVES:
            return dict.fromkeys(bracex.expand(pattern, keep_escapes=True, limit=MAX_ALTERNATIVES))
    except (bracex.ExpansionLimitException, RecursionError):
        pass
    raise ValueError(f"has braces that stand for more than {MAX_ALTERNATIVES} patterns, or lie too deep")


def _matches_parts(pattern: list[str], address: list[str]) -> bool:
    """
    Match part by part, and keep all ends that the beginning of the pattern can have in the address.

    One regular expression for the whole would try every way to share the address out to several ``**``, which takes hours for
    a long name, and stops every thread of the process meanwhile.
    """
    from wcmatch import fnmatch

    flags = fnmatch.CASE | fnmatch.DOTMATCH | fnmatch.FORCEUNIX
    ends = {0}
    for position, part in enumerate(pattern):
        if part == "**":
            # What a pattern ends with is never empty: sales/** is not the object "sales".
            first = min(ends) + (position == len(pattern) - 1)
            ends = set(range(first, len(address) + 1))
        else:
            matcher = fnmatch.compile(part, flags=flags)
            ends = {end + 1 for end in ends if end < len(address) and matcher.match(address[end])}
        if not ends:
            return False
    return len(address) in ends
