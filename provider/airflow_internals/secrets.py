"""Secrets: how Airflow masks them, and the backend that an installation keeps them in. Airflow is imported when it is asked."""

from __future__ import annotations

from typing import Any


def redact(value: Any, name: str | None = None) -> Any:
    """
    Return a value with secrets masked by Airflow's rules.

    Stands on ``airflow.sdk.log.redact`` (3.3.2), of which only its sister ``mask_secret`` is public.

    :param value: a text, or lists and dicts of such.
    :param name: of the field that has it; everything in a field with a name like ``password`` is masked.
    """
    from airflow.sdk.log import redact as masked  # type: ignore[attr-defined]

    return masked(value, name)


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
