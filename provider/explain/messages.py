"""Why a message has started nothing."""

from __future__ import annotations

from datetime import datetime

from provider.explain.answers import Answer, moment, passes, stops
from provider.metadata.rows import StoredRequest
from provider.metadata.states import DISPATCHED, DUPLICATE, RECEIVED, RECORDED, REJECTED


def explain_request(request: StoredRequest, now: datetime) -> list[Answer]:
    """
    Return the answers of the rules for a message of the inbox.

    :param now: with its zone.
    """
    state, reason = request["state"], request["reason"] or "no reason is on record"
    if state == REJECTED:
        remedy = "Correct that and publish it again, or `accelerator requests retry` where it came too early."
        return [stops("rejected", f"The message was rejected: {reason}", remedy)]
    if state == DUPLICATE:
        return [stops("duplicate", f"Another message had started batch {request['batch_id']} before: {reason}")]
    if state == RECORDED:
        return [passes("recorded", "The message told the end of a task and is recorded.")]
    if state == DISPATCHED:
        at = moment(request["dispatched_at"])
        return [passes("dispatched", f"The message has started batch {request['batch_id']} of {request['workflow_id']} at {at}.")]
    return [_waiting(request, now)] if state == RECEIVED else [stops("state", f"The message is {state}: {reason}")]


def _waiting(request: StoredRequest, now: datetime) -> Answer:
    if request["claimed_until"] is not None and request["claimed_until"] > now:
        return stops("claimed", f"A dispatcher is about to start it, until {moment(request['claimed_until'])} at most.")
    if request["reason"]:
        due = request["next_attempt_at"]
        again = f"; it is tried again at {moment(due)}" if due is not None and due > now else ""
        return stops(
            "waits", f"The message {'' if request['reason'].startswith('waits') else 'waits: '}{request['reason']}{again}"
        )
    remedy = "See the checks of the dispatcher in `accelerator doctor`."
    return stops("dispatcher", f"No dispatcher has taken it since {moment(request['received_at'])}.", remedy)
