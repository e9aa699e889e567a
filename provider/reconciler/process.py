"""
The process in which the reconciler works: ``python -m provider.reconciler.process PARENT_PID LIFE``.

Its scheduler sends hints as JSON lines on standard input. The end of the input, or of the scheduler, is the end of the process.
``LIFE`` is a file descriptor into which it writes a byte every few seconds: where none comes, the scheduler starts another one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading

from provider import settings
from provider.airflow_internals import check
from provider.exceptions import ConfigurationError, SettingUnavailableError
from provider.reconciler.loop import ReconcilerLoop

log = logging.getLogger(__name__)

#: Exit status (``EX_CONFIG`` of sysexits.h) that says: starting again would not help.
EXIT_MISCONFIGURED = 78
#: Exit status (``EX_TEMPFAIL``) that says: start again after a pause.
EXIT_TRY_AGAIN = 75


def main(parent: int, life: int) -> int:
    """
    Reconcile for the scheduler with this process id; return the exit status.

    :param life: file descriptor for signs of life.
    """
    os.set_blocking(life, False)

    def alive() -> None:
        with contextlib.suppress(OSError):  # full, or its reader is gone
            os.write(life, b".")

    alive()
    try:
        interval = settings.get_float("reconcile_interval")
        settings.refuse_embedded_database_across_machines()
    except SettingUnavailableError as error:
        log.warning("The reconciler cannot begin yet: %s", error)
        return EXIT_TRY_AGAIN
    except ConfigurationError as error:
        log.error("No task logs are reconciled: %s", error)
        return EXIT_MISCONFIGURED
    import airflow  # noqa: F401 - initializes Airflow's settings, logging and database

    alive()
    from provider.metadata.engine import keep_connections
    from provider.reconciler.passes import Reconciler

    alive()
    keep_connections()
    for problem in check():
        log.error("%s", problem)
    loop = ReconcilerLoop(Reconciler(alive=alive), interval, parent=parent, alive=alive)
    threading.Thread(target=loop.listen, args=(sys.stdin.buffer,), name="accelerator-hints", daemon=True).start()
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
