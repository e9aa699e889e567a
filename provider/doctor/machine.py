"""Checks of this machine: the snapshot's folder, the heartbeat of triggerers, and what Cloud Composer allows."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from provider import settings
from provider.doctor.examination import Check, State, Verdict, ok
from provider.exceptions import ConfigurationError

#: Section, option and the least and the most that Cloud Composer 3 allows.
COMPOSER_LIMITS: tuple[tuple[str, str, float | None, float | None], ...] = (
    ("dag_processor", "min_file_process_interval", 30, None),
    ("core", "dagbag_import_timeout", None, 600),
    ("dag_processor", "dag_file_processor_timeout", None, 600),
    ("celery", "worker_concurrency", 1, 24),
    ("scheduler", "scheduler_heartbeat_sec", 15, None),
    ("triggerer", "job_heartbeat_sec", 30, None),
)

#: How many heartbeats may be missing before a triggerer counts as dead.
HEARTBEATS = 3

_FOLDER = "Give Airflow's user the right to write to [accelerator] snapshot_dir, or name another folder there."


def machine_checks() -> list[Check]:
    """Return the checks."""
    return [
        Check("snapshot folder", look_at_snapshot_folder, _FOLDER),
        Check("heartbeat of triggerers", look_at_heartbeat, "Correct the section [triggerer]."),
        Check("limits of Composer", look_at_composer, "Correct the Airflow configuration overrides of the environment."),
    ]


def look_at_snapshot_folder() -> Verdict:
    """Look whether the snapshot can be written, and read by other machines."""
    folder = Path(settings.get("snapshot_dir")).expanduser()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir():
        return Verdict(State.ERROR, f"{there} is no folder", _FOLDER)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Verdict(State.ERROR, f"{there} cannot be written: {error.strerror}", _FOLDER)
    seen = f"{folder} is writable" if there == folder else f"{folder} is not there yet, and can be made"
    spanning = ", ".join(settings.spanning_executors())
    if spanning and folder.is_relative_to(settings.airflow_home()) and not folder.is_relative_to("/home/airflow/gcs"):
        return Verdict(
            State.WARNING,
            f"{seen}; it is this machine's, and {spanning} runs tasks on several",
            "Set [accelerator] snapshot_dir to a folder that the dag-processor and all workers share.",
        )
    return ok(seen)


def look_at_heartbeat() -> Verdict | None:
    """
    Look whether a triggerer that is well can count as dead.

    Airflow stores with each heartbeat the time of the one before (``Job.heartbeat`` merges its row first), so that the row of a
    triggerer is up to two heartbeats old. Where that counts as dead, several triggerers take each other's triggers over for ever.
    """
    heartbeat, health = _number("triggerer", "job_heartbeat_sec"), _number("triggerer", "triggerer_health_check_threshold")
    if heartbeat is None or health is None:
        return None
    least = HEARTBEATS * heartbeat
    if health >= least:
        return ok(f"every {heartbeat:g} s; dead after {health:g} s")
    return Verdict(
        State.WARNING,
        f"every {heartbeat:g} s, and dead after {health:g} s: several triggerers take each other's triggers over",
        f"Set [triggerer] triggerer_health_check_threshold to {least:g} at least: what Airflow stores is one heartbeat old.",
    )


def look_at_composer() -> Verdict | None:
    """Look whether settings are beyond what Cloud Composer allows; it has then replaced them, or will refuse them."""
    if "COMPOSER_ENVIRONMENT" not in os.environ:
        return None
    wrong = [
        f"[{section}] {option} = {value:g}, allowed is {_told(least, most)}"
        for section, option, least, most in COMPOSER_LIMITS
        if (value := _number(section, option)) is not None
        and ((least is not None and value < least) or (most is not None and value > most))
    ]
    heartbeat, health = _number("triggerer", "job_heartbeat_sec"), _number("triggerer", "triggerer_health_check_threshold")
    if heartbeat is not None and health is not None and health < max(30.0, 2 * heartbeat):
        wrong.append(
            f"[triggerer] triggerer_health_check_threshold = {health:g}, allowed is {_told(max(30.0, 2 * heartbeat), None)}"
        )
    if not wrong:
        return ok("all settings are within them")
    return Verdict(State.WARNING, "; ".join(wrong), "Correct the Airflow configuration overrides of the environment.")


def _number(section: str, option: str) -> float | None:
    from airflow.sdk import conf

    text = conf.get(section, option, fallback=None)
    try:
        return None if text in (None, "") else float(text)
    except ValueError:
        raise ConfigurationError(f"[{section}] {option} must be a number, not {text!r}; correct the setting.") from None


def _told(least: float | None, most: float | None) -> str:
    parts = [f"{least:g} at least" if least is not None else "", f"{most:g} at most" if most is not None else ""]
    return " and ".join(part for part in parts if part)
