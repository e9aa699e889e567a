"""Route of the doctor: its findings, looked at beside the requests, and kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from provider.doctor.everything import examine_everything
from provider.doctor.examination import Finding
from provider.pages.access import Asking
from provider.pages.answers import answer
from provider.threads import in_thread

router = APIRouter(prefix="/api")

#: For so many seconds findings are shown again.
KEPT_SECONDS = 30.0


class Rounds:
    """
    The doctor's rounds in this process: one at a time, however many people look.

    :param look: carries out one round.
    """

    def __init__(self, look: Callable[[], list[Finding]] = examine_everything) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._round: Future[list[Finding]] | None = None
        self._last: list[Finding] = []
        self._seen_at: datetime | None = None
        self._ended = float("-inf")

    def told(self) -> dict[str, Any]:
        """Return the findings of the last round, and whether one is under way; begin one where the last is old."""
        with self._lock:
            if self._round is None and time.monotonic() - self._ended >= KEPT_SECONDS:
                self._round = in_thread(self._look, "accelerator-pages-doctor")
            if self._round is not None and self._round.done():
                ended, self._round, self._ended = self._round, None, time.monotonic()
                self._last, self._seen_at = ended.result(), datetime.now(UTC)
            findings = [asdict(finding) for finding in self._last]
            return {"findings": findings, "seen_at": self._seen_at, "looking": self._round is not None}


_rounds = Rounds()


@router.get("/health")
def health(person: Asking) -> Response:
    """Return what the doctor says; the first to ask is told that it looks, and asks again."""
    if not person.may_see_health():
        raise HTTPException(403, "Health names machines and settings: it needs the right to see Airflow's plugins.")
    return answer(_rounds.told())
