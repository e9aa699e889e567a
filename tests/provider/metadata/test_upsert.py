"""What happens while the only writer of an SQLite database has its lock."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from provider.metadata.engine import get_engine

WRITES = """
    import sys
    from datetime import UTC, datetime
    from sqlalchemy import text
    from provider.metadata import batches, inbox
    from provider.metadata.engine import write_session

    message = inbox.InboxMessage(
        message_id="1", payload=b"{}", attributes={}, published_at=None, kind="start", task_id="a", batch_id="b", scope="task"
    )
    with write_session() as session:
        session.execute(text("SELECT 1"))
        before = set(sys.modules)
        scope = batches.Scope(None, "workflow", None)
        batches.open_batch(
            session, "w", "b", requested=scope, source="x", params={}, message_id=None, all_task_ids=["a"], disabled={"a"}
        )
        batches.record_batch(session, {"workflow_id": "w", "batch_id": "b", "status": "SUCCESS", "airflow_state": "success",
            "source": "x", "params": {}, "message_id": None, "created_at": datetime.now(UTC), "started_at": None,
            "ended_at": None, "error": None})
        inbox.receive(session, "s", [message])
        inbox.claim(session)
        imported = set(sys.modules) - before
    print(sorted(imported))
"""


def test_nothing_is_imported_while_the_write_lock_is_held(embedded_database: str) -> None:
    """A new process would import while everybody else waits for it: with forty of them some gave up."""
    get_engine()  # creates the schema here: Alembic, which imports every dialect, has no work in the new process
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(WRITES)], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
