"""
The scheduler's side of the reconciler: starts its process, keeps it alive, passes hints on.

A process and not a thread, because the LocalExecutor forks its workers out of the scheduler. SQLite keeps its table of locks
for a whole process, so a worker that is forked while a thread is in a transaction inherits a lock that nobody will ever
release, and each of its tasks finds the database locked. The thread here never touches a database.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import subprocess
import sys
import threading
import time
from typing import Any

from provider.airflow_internals.processes import is_scheduler, job_type, loaded_columns
from provider.airflow_internals.secrets import redact
from provider.pacing import backoff
from provider.reconciler.hints import hint_line
from provider.reconciler.process import EXIT_MISCONFIGURED
from provider.texts import one_line, storable

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0
_JOB_TYPE_SECONDS = 30.0
#: How long it waits before it starts a process again that has ended, in seconds; longer each time.
FIRST_PAUSE_SECONDS = 1.0
_LAST_BACKOFF_SECONDS = 60.0
#: A process that lived longer was well: the next pause is the first again.
_STEADY_SECONDS = 60.0
#: A process that has given no sign of life for so long, in seconds, hangs; before its first one it imports Airflow.
SILENT_SECONDS, _FIRST_SIGN_SECONDS = 60.0, 300.0
#: Longest error in a hint.
_HINT_CHARACTERS = 2000


class ReconcilerHost(threading.Thread):
    """
    The thread that looks after the reconciler's process of one scheduler.

    :param job: Airflow's Job of this process; its type is set right after the listener has heard of it.
    :param command: what to run; the scheduler's process id and the file descriptor for signs of life are added.
    :param first_pause: seconds before a process that ended is started again, at first.
    :param silent: seconds without a sign of life after which a process is ended.
    """

    def __init__(
        self,
        job: Any,
        command: tuple[str, ...] | None = None,
        *,
        first_pause: float = FIRST_PAUSE_SECONDS,
        silent: float = SILENT_SECONDS,
    ) -> None:
        super().__init__(name="accelerator-reconciler-host", daemon=True)
        self.job = job
        # -P: a folder named like one of our packages in the scheduler's working directory must not be taken for it.
        self._command = command or (sys.executable, "-P", "-m", "provider.reconciler.process")
        self._first_pause = first_pause
        self._silent = silent
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the reconciler; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def run(self) -> None:
        """Start the process whenever it is not there, until told to stop."""
        if not self._is_scheduler():
            return
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            status = self._run_process()
            if self._stopping.is_set() or status == EXIT_MISCONFIGURED:
                return
            failures = 1 if time.monotonic() - began > _STEADY_SECONDS else failures + 1
            pause = backoff(failures, first=self._first_pause, longest=_LAST_BACKOFF_SECONDS)
            log.warning("The reconciler ended with status %s; starting it again in %.0f s.", status, pause)
            self._stopping.wait(pause)

    def hint(self, hint: dict[str, Any]) -> None:
        """Pass a hint on, if that takes no time; a lost one costs the reconciler's interval."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # full, or its reader is gone
                os.write(process.stdin.fileno(), hint_line(hint))

    def stop(self) -> None:
        """Ask for a last pass and wait a little for it."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        self.forget()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()

    def forget(self) -> None:
        """Close this process's end of the pipe: in the scheduler to end the reconciler, in a forked child to let it end."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _run_process(self) -> int | None:
        signs, life = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [*self._command, str(os.getpid()), str(life)],
                stdin=subprocess.PIPE,
                bufsize=0,
                pass_fds=(life,),
                start_new_session=True,  # Ctrl-C is the scheduler's; the reconciler ends after it
            )
        except OSError as error:
            os.close(signs)
            log.warning("The reconciler cannot be started: %s", error)
            return None
        finally:
            os.close(life)
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        self._process = process
        if self._stopping.is_set():  # asked while it was being started
            self.forget()
        try:
            self._watch(process, signs)
            return process.wait()
        finally:
            self._process = None
            os.close(signs)

    def _watch(self, process: subprocess.Popen[bytes], signs: int) -> None:
        """Return when a process ends; end one that hangs, as no other may be there to take the lead over."""
        patience = max(self._silent, _FIRST_SIGN_SECONDS)
        waiting = select.poll()  # select() takes no descriptor above 1023, and a scheduler may have more
        waiting.register(signs, select.POLLIN)
        while waiting.poll(patience * 1000):
            if not os.read(signs, 4096):
                return
            patience = self._silent
        log.warning("The reconciler has given no sign of life for %.0f s; another one is started.", patience)
        process.kill()

    def _is_scheduler(self) -> bool:
        """Wait until the job has its type."""
        deadline = time.monotonic() + _JOB_TYPE_SECONDS
        while (kind := job_type(self.job)) is None and time.monotonic() < deadline:
            if self._stopping.wait(0.02):
                return False
        return is_scheduler(kind)


_host: ReconcilerHost | None = None


def start(job: Any) -> None:
    """Start the reconciler for a job that has just been created; nothing happens unless this is the scheduler."""
    global _host
    if _host is None or not _host.is_alive():
        _host = ReconcilerHost(job)
        _host.start()


def stop(job: Any) -> None:
    """Stop the reconciler that was started for this job, after a last pass."""
    global _host
    if _host is not None and _host.job is job:
        _host.stop()
        _host = None


def hint(task_instance: Any = None, error: object = None) -> bool:
    """
    Wake the reconciler of this scheduler.

    :param task_instance: Airflow's ORM TaskInstance; only its columns are copied.
    :param error: what the scheduler says of its failure.
    :return: whether this process has a reconciler.
    """
    host = _host
    if host is None or host.pid is None:
        return False
    told: dict[str, Any] = {}
    if task_instance is not None and error:
        row = loaded_columns(task_instance)
        told = {
            "dag_id": row.get("dag_id", ""),
            "run_id": row.get("run_id", ""),
            "task_id": row.get("task_id", ""),
            "map_index": row.get("map_index", -1),
            "try_number": row.get("try_number", 0),
            "error": storable(one_line(redact(str(error)), _HINT_CHARACTERS), _HINT_CHARACTERS),
        }
    host.hint(told)
    return True


def _forget_inherited_host() -> None:
    global _host
    if _host is not None:
        _host.forget()
        _host = None


# The LocalExecutor forks: a child has the object, but not the thread, and must not hold the pipe open.
os.register_at_fork(after_in_child=_forget_inherited_host)
