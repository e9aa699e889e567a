"""Why a message has started nothing."""

from __future__ import annotations

from datetime import datetime

from provider.airflow_view.view import RunsView
from provider.doctor.airflow_state import DISPATCHER, airflow_checks
from provider.doctor.examination import State, examine
from provider.explain.answers import Answer, moment, passes, stops
from provider.explain.dags import explain_missing
from provider.metadata.rows import StoredRequest
from provider.metadata.states import (
    DISPATCHED,
    DUPLICATE,
    RECEIVED,
    RECORDED,
    REJECTED,
    WORKFLOW_DISABLED,
    WORKFLOW_FULL,
)

#: What starts waiting requests, as the doctor calls it.
_STARTERS = ("triggerer", "scheduler", "dispatcher DAG")


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


def is_airflows(request: StoredRequest, now: datetime) -> bool:
    """
    Tell whether Airflow may know more of why a message has started nothing.

    :param now: with its zone.
    """
    by_itself = (WORKFLOW_DISABLED, WORKFLOW_FULL)
    return request["state"] == RECEIVED and not _is_claimed(request, now) and request["reason"] not in by_itself


def explain_in_airflow(request: StoredRequest, view: RunsView) -> list[Answer]:
    """
    Return what Airflow knows of why a message waits; empty where that is nothing.

    :raises RemoteCallError: Airflow could not be asked.
    """
    workflow_id = request["workflow_id"]
    dag = view.dag(workflow_id) if workflow_id else None
    if workflow_id and (dag is None or dag.stale):
        return [explain_missing(workflow_id, dag, view)]
    if request["reason"]:
        return []
    checks = [check for check in airflow_checks(lambda: view) if check.name in _STARTERS]
    found = [one for one in examine(checks) if one.state is State.ERROR]
    since = f"No dispatcher has taken it since {moment(request['received_at'])}"
    return [stops("dispatcher", f"{since}: {_seen(one.check, one.seen)}.", one.remedy) for one in found]


def _seen(check: str, seen: str) -> str:
    return seen if DISPATCHER in seen else f"{check} {seen}"


def _is_claimed(request: StoredRequest, now: datetime) -> bool:
    return request["claimed_until"] is not None and request["claimed_until"] > now


def _waiting(request: StoredRequest, now: datetime) -> Answer:
    if _is_claimed(request, now):
        return stops("claimed", f"A dispatcher is about to start it, until {moment(request['claimed_until'])} at most.")
    if request["reason"]:
        due = request["next_attempt_at"]
        again = f"; it is tried again at {moment(due)}" if due is not None and due > now else ""
        return stops(
            "waits", f"The message {'' if request['reason'].startswith('waits') else 'waits: '}{request['reason']}{again}"
        )
    remedy = "See the checks of the dispatcher in `accelerator doctor`."
    return stops("dispatcher", f"No dispatcher has taken it since {moment(request['received_at'])}.", remedy)
