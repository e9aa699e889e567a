"""Secrets: how Airflow masks them, and the backend that an installation keeps them in. Airflow is imported when it is asked."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Any


def redact(value: Any, name: str | None = None) -> Any:
    """
    Return a value with secrets masked by Airflow's rules.

    Stands on ``airflow.sdk.log.redact`` and the patterns of its masker (3.3.2), of which only ``mask_secret`` is public. Beyond
    them it masks private keys, and secrets with line breaks or several spaces in which somebody has made one space of these.

    :param value: a text, or lists and dicts of such.
    :param name: of the field that has it; everything in a field with a name like ``password`` is masked.
    """
    from airflow.sdk.log import redact as masked  # type: ignore[attr-defined]

    # By default Airflow looks for known secrets five levels deep and no deeper, its oldest version that we allow for names in
    # lists, too. Without a bound Python's own limit ends it, and Airflow then masks what it has not looked at.
    return _redact_texts(masked(value, name, max_depth=sys.maxsize))


def mask(secret: str) -> None:
    """
    Let Airflow mask a secret in all that this process and its supervisor log from now on.

    Stands on ``airflow.sdk.log.mask_secret`` (3.3.2), in a module that is not called public.
    """
    from airflow.sdk.log import mask_secret

    mask_secret(secret)


#: A private key in PEM, on one line or several; one that was cut has no end.
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_SPACE = re.compile(r"(?:\\?\s)+")


def _redact_texts(value: Any) -> Any:
    if isinstance(value, str):
        text = _PRIVATE_KEY.sub("***", value)
        pattern = _patterns_with_space(frozenset(_known_patterns()))
        return text if pattern is None else pattern.sub("***", text)
    if isinstance(value, dict):
        return {key: _redact_texts(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_redact_texts(one) for one in value) if type(value) in (list, tuple) else value
    return value


def _known_patterns() -> set[str]:
    from airflow.sdk.log import _secrets_masker  # type: ignore[attr-defined]

    patterns: set[str] = _secrets_masker().patterns
    return patterns


@lru_cache(maxsize=1)
def _patterns_with_space(known: frozenset[str]) -> re.Pattern[str] | None:
    """Return what finds the secrets that have spaces in them, whatever became of these; None where there are none."""
    spaced = {_SPACE.sub(r"\\s+", pattern) for pattern in known if _SPACE.search(pattern)}
    # A line break at its end is gone where a text is made one line.
    found = {pattern.removeprefix(r"\s+").removesuffix(r"\s+") for pattern in spaced} - {""}
    return re.compile("|".join(sorted(found, key=len, reverse=True))) if found else None


def from_secrets_backend(option: str) -> str | None:
    """
    Return a setting from the secrets backend of this installation.

    Stands on ``airflow.configuration.get_custom_secret_backend`` (3.3.2). Backends themselves are public.

    :param option: its name there.
    :return: None where there is no backend, or no such secret in it.
    """
    from airflow.configuration import get_custom_secret_backend

    backend = get_custom_secret_backend()
    value = None if backend is None else backend.get_config(option)
    return None if value is None else str(value)
