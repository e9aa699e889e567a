"""
Ids as parts of addresses. The one place where a path is made, and where the path that a library has made of it is looked at.

HTTP libraries, proxies and servers resolve ``.`` and ``..``, some of them after they have decoded ``%2e``: a cancel of the
refresh ``..`` would delete the semantic model.
"""

from __future__ import annotations

import re
import uuid
from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import AfterValidator

from provider.hooks.remote_job import RemoteCallError
from provider.texts import quoted

__all__ = ["PathPart", "path"]

#: What ids of the services consist of: GUIDs, names of Google's resources, ``2020-09-11T19:21:52.8Z@guid$1`` of dataflows.
_PART = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.~:@$+=,-]{1,1024}", re.ASCII)
#: How often a path is decoded before it counts as one that hides something.
_DECODED = 3


def is_part(value: object) -> bool:
    """Whether a value is a text that can be one part of a path, and no other path."""
    return isinstance(value, str) and _PART.fullmatch(value) is not None


def is_guid(value: str) -> bool:
    """Whether a text is a GUID, as all ids of Power BI are that people give."""
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def path(*parts: object) -> str:
    """
    Join parts to a path.

    :raises RemoteCallError: a part is no id. Nothing was sent.
    """
    for part in parts:
        if not is_part(part):
            raise RemoteCallError(f"{quoted(part)} is no id that can be part of an address; nothing was sent.", retryable=False)
    return "/".join(quote(str(part), safe="") for part in parts)


def check_path(sent: str) -> None:
    """
    Look at the path of a request as it goes out, after whatever a library has made of it.

    :raises RemoteCallError: a server or a proxy could take it for another one. Nothing was sent.
    """
    read = sent
    for _ in range(_DECODED):
        if any(part in (".", "..") for part in re.split(r"[/\\]", read)) or "\\" in read:
            break
        if (decoded := unquote(read)) == read:
            return
        read = decoded
    raise RemoteCallError(f"The path {quoted(sent)} can be taken for another one; nothing was sent.", retryable=False)


def _checked(value: str) -> str:
    if not is_part(value):
        raise ValueError("is no id that can be part of an address")
    return value


#: An id in a model of what comes from outside.
PathPart = Annotated[str, AfterValidator(_checked)]
