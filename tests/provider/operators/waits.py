"""Waits that protect production systems, made short."""

from __future__ import annotations

from typing import Any

from provider.hooks.wait_budget import WaitBudget

SHORT_WAITS = WaitBudget(patience=5.0, lookup=1.0, accepted_lookup=5.0, first_event=0.05)
#: Parameters of an operator that waits as little as it can.
FAST: dict[str, Any] = {
    "task_id": "job",
    "poll_interval": 0.1,
    "initial_wait": 0.0,
    "http_timeout": 5.0,
    "budget": SHORT_WAITS,
}
