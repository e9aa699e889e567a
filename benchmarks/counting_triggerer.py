"""
``airflow triggerer``, of which a file says what its event loop asks its supervisor for.

The file gets one line for each frame that the supervisor handles: the name of its message. Nothing else is changed.

::

    python -m benchmarks.counting_triggerer FILE --skip-serve-logs
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch


def main() -> None:
    """Count, and be ``airflow triggerer`` with the remaining arguments."""
    from airflow import __main__ as airflow
    from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor

    _, file, *arguments = sys.argv
    handle: Callable[..., None] = TriggerRunnerSupervisor._handle_request

    # Unbuffered: the file is read while the triggerer runs.
    with open(file, "ab", buffering=0) as frames:  # noqa: PTH123

        def count_and_handle(self: Any, msg: Any, log: Any, req_id: int) -> None:
            frames.write(f"{type(msg).__name__}\n".encode())
            handle(self, msg, log, req_id)

        sys.argv = ["airflow", "triggerer", *arguments]
        command: Callable[[], None] = airflow.main
        with patch.object(TriggerRunnerSupervisor, "_handle_request", count_and_handle):
            command()


if __name__ == "__main__":
    main()
