"""
Which batch ids are accepted from outside, and how ids are put into a URL.

A batch id becomes a run id, and Airflow 3.3 puts run ids into the path of its Execution API as they are: ``x/clear`` would
clear a run, ``../other/x`` would reach another DAG (apache/airflow#68617).
"""

from __future__ import annotations

import hashlib
import re
import shlex
from typing import Any
from urllib.parse import quote

from provider.exceptions import MessageError
from provider.texts import quoted

#: Airflow takes longer run ids and then fails to create the log folder of such a name.
MAX_LENGTH = 200

#: Start of the run id that ``airflow tasks test`` makes up for a run which it deletes again.
TEMPORARY_RUN_PREFIX = "__airflow_temporary_run_"

#: Airflow tells the type of a run by these.
RESERVED_PREFIXES = (
    *(f"{run_type}__" for run_type in ("manual", "scheduled", "backfill", "operator_triggered")),
    *("asset_triggered__", "asset_materialization__", TEMPORARY_RUN_PREFIX),
)

#: What :func:`check_batch_id` accepts, in the words of JSON Schema.
BATCH_ID_SCHEMA: dict[str, Any] = {
    "pattern": r"^[A-Za-z0-9_.~:+-]{1,200}$",
    "not": {"pattern": r"\.\.|^\.$|^(" + "|".join(RESERVED_PREFIXES) + ")"},
}

_BATCH_ID = re.compile(r"[A-Za-z0-9_.~:+-]{1,200}")
_DAG_ID = re.compile(r"[\w.-]{1,250}")
_ALLOWED = f"1 to {MAX_LENGTH} of the characters A-Z a-z 0-9 _ . ~ : + -, without '..'"


def check_batch_id(text: str) -> str:
    """
    Return the batch id if it can be a run id.

    :raises MessageError: it cannot; the text says what is allowed.
    """
    if not _BATCH_ID.fullmatch(text) or ".." in text or text == ".":
        raise MessageError(f"batch_id {quoted(text)} cannot be a run id; use {_ALLOWED}.")
    for prefix in RESERVED_PREFIXES:
        if text.startswith(prefix):
            raise MessageError(
                f"batch_id {quoted(text)} begins with {prefix!r}, by which Airflow names runs of its own; use another beginning."
            )
    return text


def check_dag_id(text: str) -> str:
    """
    Return the dag id if Airflow would accept it as one and it stays itself in a URL path.

    :raises MessageError: it cannot name a DAG.
    """
    if not _DAG_ID.fullmatch(text) or text in (".", ".."):
        raise MessageError(f"workflow_id {quoted(text)} cannot name a DAG; use letters, digits and _ . - only.")
    return text


def quote_run_id(text: str) -> str:
    """
    Return an id as one segment of a URL path.

    The characters that a segment may hold unencoded (RFC 3986, ``pchar``) stay, so an accepted batch id comes out unchanged
    and stays right when Airflow begins to quote by itself.
    """
    return quote(text, safe="-._~+:")


def as_arguments(batch_id: str, workflow_id: str | None = None) -> str:
    """
    Return a batch as arguments of our commands, for a shell.

    :param workflow_id: its workflow, where the id alone may not do.
    """
    workflow = f"--workflow {shlex.quote(workflow_id)} " if workflow_id is not None else ""
    return f"{workflow}{'-- ' if batch_id.startswith('-') else ''}{shlex.quote(batch_id)}"


def file_batch_id(bucket: str, name: str, generation: str) -> str:
    """Return the batch id of one generation of an object in a bucket."""
    return "file_" + hashlib.sha256("\0".join((bucket, name, generation)).encode()).hexdigest()[:40]
