"""One leader among several processes, by a lock that the system itself releases when its holder dies."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TextIO

from sqlalchemy import Connection, Engine, text

from provider.metadata.advisory_locks import AdvisoryLock
from provider.metadata.engine import get_engine


class LeaderLock:
    """
    The reconciler's lock: an advisory lock of PostgreSQL on a connection of its own, or beside an SQLite file a lock file.

    Neither passes on to a forked child. Not thread-safe: one thread acquires, checks and releases.
    """

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._file: TextIO | None = None

    def acquire(self) -> bool:
        """
        Become or stay the leader.

        :return: whether this process is the leader now.
        :raises sqlalchemy.exc.SQLAlchemyError: the database cannot be reached; the lock is then lost too.
        """
        engine = get_engine()
        if engine.dialect.name == "sqlite":
            return self._acquire_file(engine)
        return self._acquire_advisory(engine)

    def release(self) -> None:
        """Give the lock up, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._connection is not None:
            # Not back into the pool: the lock lives as long as the connection.
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _acquire_file(self, engine: Engine) -> bool:
        if self._file is not None:
            return True
        path = Path(f"{engine.url.database}.reconciler.lock").expanduser()
        file = path.open("w")
        try:
            # A record lock, since a flock would live on in forked children.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def _acquire_advisory(self, engine: Engine) -> bool:
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return True
            self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            statement = text("SELECT pg_try_advisory_lock(:key)")
            if self._connection.execute(statement, {"key": AdvisoryLock.RECONCILER.value}).scalar():
                return True
        except BaseException:
            self.release()
            raise
        self.release()
        return False
