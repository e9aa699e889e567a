"""A Power BI with one semantic model and one dataflow, whose history a test writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.provider.defects.raw_server import http
from tests.provider.operators.powerbi_world import MODEL_ID, WORKSPACE_ID

BY_ID: dict[str, str] = {"workspace": WORKSPACE_ID, "semantic_model": MODEL_ID}
DATAFLOW_BY_ID: dict[str, str] = {"workspace": WORKSPACE_ID, "dataflow": MODEL_ID}
OURS = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "bbbbbbbb-0000-4000-8000-000000000002"


def now() -> str:
    return datetime.now(UTC).isoformat()


def entry(refresh_id: str, status: str, **fields: Any) -> dict[str, Any]:
    """Return an entry of a history, of the model and of the dataflow alike."""
    times = {"startTime": now(), "refreshType": "ViaEnhancedApi"}
    return {"requestId": refresh_id, "id": refresh_id, "status": status, **times, **fields}


class RefreshService:
    """
    Answers as Power BI does.

    :param history: what it lists, beside our own refresh once that is started.
    :param ours: what our own refresh looks like.
    """

    def __init__(self, *history: dict[str, Any], ours: dict[str, Any] | None = None) -> None:
        self.history = list(history)
        self.ours = ours or {"status": "Completed", "endTime": now()}
        self.details: dict[str, dict[str, Any]] = {}
        self.started: list[str] = []
        self.busy = False

    def __call__(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        path = path.partition("?")[0]
        if method == "POST":
            if self.busy:
                return http(400, {"error": {"code": "InvalidRequest", "message": "Another refresh request is already executing"}})
            self.started.append(OURS)
            self.history.insert(0, entry(OURS, **self.ours))
            return http(202, x_ms_request_id=OURS)
        if path.endswith(("/refreshes", "/transactions")):
            return http(200, {"value": self.history})
        refresh_id = path.rpartition("/")[2]
        listed = next((item for item in self.history if item["requestId"] == refresh_id), None)
        found = self.details.get(refresh_id, listed)
        return http(404) if found is None else http(200, json.dumps(found).encode())
