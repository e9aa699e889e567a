from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

import pytest

from provider.emulators.ledger import Ledger


def test_entries_are_kept_in_order_and_filtered(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    ledger.append("powerbi", "refresh_posted", "a", at=moment, detail={"name": "Daily"})
    ledger.append("powerbi", "refresh_completed", "a")
    ledger.append("dataform", "cancel", "b", outcome="NOT_FOUND")

    assert [entry.seq for entry in ledger.entries()] == [1, 2, 3]
    assert ledger.entries("powerbi", "refresh_posted")[0].at == "2026-01-02T00:00:00+00:00"
    assert [entry.operation for entry in ledger.entries(resource="a", after=1)] == ["refresh_completed"]
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["ok", "ok", "NOT_FOUND"]
    assert lines[0]["detail"] == {"name": "Daily"}


def test_threads_leave_no_gap():
    ledger = Ledger()
    threads = [threading.Thread(target=lambda: [ledger.append("a", "b", "c") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.seq for entry in ledger.entries()] == list(range(1, 1601))


def test_wait_for():
    ledger = Ledger()
    thread = threading.Thread(target=lambda: [ledger.append("a", "done", "x") for _ in range(2)])
    thread.start()
    assert len(ledger.wait_for("done", "x", count=2)) == 2
    thread.join()
    with pytest.raises(TimeoutError, match="0 of 1 'never'"):
        ledger.wait_for("never", timeout=0.01)
