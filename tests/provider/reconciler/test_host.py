"""The scheduler's side: a process that is started, kept alive, woken and ended, and forks that it cannot harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from provider.reconciler import host as reconciler_host
from provider.reconciler.host import ReconcilerHost
from provider.reconciler.process import EXIT_MISCONFIGURED, EXIT_TRY_AGAIN


def scheduler() -> SimpleNamespace:
    return SimpleNamespace(job_type="SchedulerJob")


def until(ready: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


def running(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(text))


ECHO = """
import sys
with open(sys.argv[1], "a", buffering=1) as heard:
    print("started", file=heard)
    for line in sys.stdin:
        heard.write(line)
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ReconcilerHost]:
    """A host of a process that writes down when it starts and what it hears."""
    host = ReconcilerHost(scheduler(), (sys.executable, "-c", ECHO, str(tmp_path / "heard")), first_pause=0.01)
    host.start()
    until(lambda: (tmp_path / "heard").exists() and "started" in (tmp_path / "heard").read_text(), "the process")
    yield host
    host.stop()
    host.join(30)
    assert not host.is_alive()


def test_it_passes_hints_on(host: ReconcilerHost, tmp_path: Path) -> None:
    host.hint({})
    host.hint({"dag_id": "sales"})
    until(lambda: (tmp_path / "heard").read_text() == 'started\n{}\n{"dag_id": "sales"}\n', "both hints")


def test_a_reader_that_is_stuck_or_gone_costs_the_scheduler_nothing(host: ReconcilerHost) -> None:
    assert host.pid is not None
    os.kill(host.pid, signal.SIGSTOP)
    for _ in range(2000):
        host.hint({"error": "x" * 500})  # far more than a pipe holds
    os.kill(host.pid, signal.SIGKILL)
    for _ in range(100):
        host.hint({})


def test_a_killed_process_is_started_again(host: ReconcilerHost, tmp_path: Path) -> None:
    first = host.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: (tmp_path / "heard").read_text().count("started") == 2, "a new process")
    until(lambda: host.pid not in (None, first), "its id")


HANGS_ONCE = """
import os, sys, time
heard, life = sys.argv[1], int(sys.argv[3])
first = not os.path.exists(heard)
with open(heard, "a") as file:
    print("started", file=file)
os.write(life, b".")
if first:
    time.sleep(3600)
for _ in sys.stdin:
    pass
"""


def test_one_that_hangs_is_ended_and_started_again(tmp_path: Path) -> None:
    """No other scheduler may be there whose reconciler could take the lead over."""
    heard = tmp_path / "heard"
    host = ReconcilerHost(scheduler(), (sys.executable, "-c", HANGS_ONCE, str(heard)), first_pause=0.01, silent=0.5)
    host.start()
    until(lambda: heard.exists() and heard.read_text().count("started") >= 2, "another process")
    host.stop()
    host.join(30)
    assert not host.is_alive()


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_database")
def test_a_reconciler_that_is_stopped_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The process itself."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    host = ReconcilerHost(scheduler(), first_pause=0.01, silent=20.0)
    host.start()
    until(lambda: host.pid is not None, "the process")
    first = psutil.Process(host.pid)
    until(lambda: first.num_threads() > 1, "its first pass", 120)  # it listens to its scheduler
    first.suspend()
    until(lambda: host.pid not in (None, first.pid), "another process", 120)
    host.stop()
    host.join(60)
    assert not first.is_running()


def test_stop_ends_it_by_the_end_of_its_input(tmp_path: Path) -> None:
    text = "import sys; sys.stdin.read(); open(sys.argv[1], 'w').write('last look')"
    host = ReconcilerHost(scheduler(), (sys.executable, "-c", text, str(tmp_path / "ended")))
    host.start()
    until(lambda: host.pid, "the process")
    host.stop()
    host.join(30)
    assert (tmp_path / "ended").read_text() == "last look"
    assert host.pid is None


def test_a_misconfigured_one_is_not_started_again() -> None:
    host = ReconcilerHost(scheduler(), running(f"import sys; sys.exit({EXIT_MISCONFIGURED})"))
    host.start()
    host.join(30)
    assert not host.is_alive()


def test_one_that_could_not_begin_yet_is_started_again(tmp_path: Path) -> None:
    """Until it can: the third time it stays."""
    text = f"""
        import pathlib, sys
        starts = pathlib.Path({str(tmp_path / "starts")!r})
        starts.write_text((starts.read_text() if starts.exists() else "") + "x")
        if len(starts.read_text()) < 3:
            sys.exit({EXIT_TRY_AGAIN})
        pathlib.Path({str(tmp_path / "begun")!r}).touch()
        sys.stdin.read()
    """
    host = ReconcilerHost(scheduler(), running(text), first_pause=0.01)
    host.start()
    until((tmp_path / "begun").exists, "the one that begins")
    host.stop()
    host.join(30)
    assert (tmp_path / "starts").read_text() == "xxx"


@pytest.mark.parametrize("kind", ["TriggererJob", "DagProcessorJob"])
def test_other_jobs_have_none(kind: str) -> None:
    host = ReconcilerHost(SimpleNamespace(job_type=kind), running("raise SystemExit"))
    host.start()
    host.join(30)
    assert not host.is_alive()
    assert host.pid is None


def test_hooks_find_the_scheduler_s_own() -> None:
    job = SimpleNamespace(job_type=None)  # as it is when Airflow tells its listeners
    assert not reconciler_host.hint()
    reconciler_host.start(job)
    try:
        assert not reconciler_host.hint()
    finally:
        reconciler_host.stop(job)
    assert not reconciler_host.hint()


FORKING = """
    import os, sys, threading, time
    from types import SimpleNamespace
    from provider.reconciler import host as reconciler_host

    HOLD = '''
    import sys
    from sqlalchemy import text
    from provider.metadata.engine import write_session
    with write_session() as session:
        session.execute(text("SELECT 1"))
        print("locked", flush=True)
        sys.stdin.read()
    '''
    import textwrap
    host = reconciler_host.ReconcilerHost(SimpleNamespace(job_type="SchedulerJob"), (sys.executable, "-c", textwrap.dedent(HOLD)))
    reconciler_host._host = host
    host.start()
    sys.stdin.readline()                # the test has seen that the reconciler holds the write lock
    go, ready = os.pipe()
    child = os.fork()                   # as the LocalExecutor makes a worker
    if child == 0:
        os.read(go, 1)
        from sqlalchemy import text
        from provider.metadata.engine import write_session
        with write_session() as session:
            session.execute(text("SELECT 1"))
        os._exit(0)
    host.stop()                         # the child must not hold the pipe open, or this would not end it
    host.join(30)
    os.write(ready, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child inherited a lock"
    print("child wrote", flush=True)
"""


def test_a_worker_forked_while_the_reconciler_is_in_a_transaction_can_write(embedded_database: str) -> None:
    """SQLite's table of locks belongs to the process: from a thread, the child would find the database locked for ever."""
    process = subprocess.Popen(
        running(FORKING), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    output, _ = process.communicate("fork now\n", timeout=60)
    assert process.returncode == 0
    assert output == "child wrote\n"


THREAD_FREE = """
    import sys, time
    from types import SimpleNamespace
    from provider.listeners import task_log
    from provider.reconciler import host
    task_log.on_starting(component=type("Job", (SimpleNamespace,), {})(job_type="SchedulerJob"))
    while host._host.pid is None:
        time.sleep(0.01)
    task_log.on_dag_run_running(dag_run=object())
    print("opened:", bool(sys.modules["provider.metadata.engine"]._engines), flush=True)
"""


@pytest.mark.slow
def test_the_scheduler_itself_never_opens_the_application_database(embedded_database: str) -> None:
    result = subprocess.run(running(THREAD_FREE), capture_output=True, text=True, timeout=120, check=True)
    # Its process writes to the same output, and complains: there is no Airflow here.
    assert [line for line in result.stdout.splitlines() if line.startswith("opened:")] == ["opened: False"]


def test_a_scheduler_that_is_killed_takes_it_along(embedded_database: str, tmp_path: Path) -> None:
    text = f"""
        import time
        from types import SimpleNamespace
        from provider.reconciler.host import ReconcilerHost
        host = ReconcilerHost(SimpleNamespace(job_type="SchedulerJob"), {running("import sys; sys.stdin.read()")!r})
        host.start()
        while host.pid is None:
            time.sleep(0.01)
        print(host.pid, flush=True)
        time.sleep(600)
    """
    killed = subprocess.Popen(running(text), stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    process = psutil.Process(int(killed.stdout.readline()))
    killed.kill()
    killed.wait()
    psutil.wait_procs([process], timeout=30)
    assert not process.is_running()
