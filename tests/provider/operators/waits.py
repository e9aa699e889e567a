"""Waits that protect production systems, made short."""

from __future__ import annotations

from provider.hooks.wait_budget import WaitBudget

SHORT_WAITS = WaitBudget(patience=5.0, lookup=1.0, accepted_lookup=5.0, first_event=0.05)
