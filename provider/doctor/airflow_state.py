"""Checks of Airflow's processes, of this package's DAGs in it, and of who keeps the record."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from provider import settings
from provider.airflow_view.opening import open_view
from provider.airflow_view.view import AirflowView
from provider.doctor.clocks import judged_skew
from provider.doctor.database import SEE_DATABASE, rows
from provider.doctor.examination import Check, State, Verdict, ok
from provider.doctor.shared import SHARED_SECONDS, Shared
from provider.exceptions import UnseenError
from provider.metadata.leader_lock import Lead, current_lead
from provider.metadata.request_queue import oldest_waiting_since
from provider.texts import counted

DISPATCHER = "accelerator_dispatcher"
RECONCILER = "accelerator_reconciler"
ALERTS = "accelerator_alerts"

#: How far the record may be behind, and how long a request may wait.
_BEHIND, _FAR_BEHIND = timedelta(minutes=1), timedelta(minutes=10)
_WAITING = timedelta(minutes=15)

_PLUGIN = "provider.plugin:AcceleratorPlugin"
_SEE_AIRFLOW = "See the check airflow."
_REINSTALL = "Install airflow-provider-cloud-accelerator as a package, and not as a folder on the path."
_API = "Correct the connection that [accelerator] airflow_conn_id names, and see that the API server is up."
_AIRFLOWS_DATABASE = "See that Airflow's database server is up, and reached from this machine by [database] sql_alchemy_conn."


def airflow_checks(opened: Callable[[], AirflowView] = open_view, seconds: float = SHARED_SECONDS) -> list[Check]:
    """
    Return the checks.

    :param opened: opens the way to see Airflow.
    :param seconds: how long what several checks need may take.
    """
    way = Shared(opened, seconds)
    health = Shared(lambda: way.get().health(), seconds)
    view = Shared(lambda: _answering(way.get()), seconds)
    reach = _API if settings.get("airflow_conn_id") else _AIRFLOWS_DATABASE
    return [
        Check("airflow", partial(look_at_airflow, way, health, view), reach),
        Check("scheduler", partial(look_at_component, health, "scheduler"), _SEE_AIRFLOW),
        Check("triggerer", partial(look_at_component, health, "triggerer"), _SEE_AIRFLOW),
        Check("dag-processor", partial(look_at_component, health, "dag_processor"), _SEE_AIRFLOW),
        Check("clock of the API server", partial(look_at_clock, view), reach),
        Check("plugin", look_at_plugin, _REINSTALL),
        Check("reconciler", look_at_reconciler, SEE_DATABASE),
        Check("reconciler DAG", partial(look_at_dag, view, RECONCILER, "airflow_conn_id"), reach),
        Check("dispatcher DAG", partial(look_at_dag, view, DISPATCHER, "pubsub_subscriptions"), reach),
        Check("waiting requests", look_at_waiting_requests, SEE_DATABASE),
        Check("alerts DAG", partial(look_at_dag, view, ALERTS, "notifiers"), reach),
        Check("alerts", look_at_alerts, SEE_DATABASE),
    ]


def _answering(view: AirflowView) -> AirflowView:
    """Return a way to see Airflow once it has told what its API tells nobody without a right."""
    view.dag(DISPATCHER)
    return view


def look_at_airflow(way: Shared[AirflowView], health: Shared[Mapping[str, Any]], view: Shared[AirflowView]) -> Verdict:
    """
    Look whether Airflow's state can be read, and its database answers.

    :param health: which the API tells everybody.
    :param view: the same as *way*, once it has told more than that.
    """
    told = way.get().told
    if _status(health.get(), "metadatabase") != "healthy":
        return Verdict(State.ERROR, f"seen {told}: its database is unhealthy", "See that Airflow's database server is up.")
    view.get()
    return ok(f"seen {told}")


def look_at_component(health: Shared[Mapping[str, Any]], name: str) -> Verdict:
    """Look whether one of Airflow's processes is alive."""
    found = _known(health.get)
    if _status(found, "metadatabase") != "healthy":
        raise UnseenError("Airflow's database is unhealthy", _SEE_AIRFLOW)
    if name not in found:
        raise UnseenError("Airflow does not tell", "Look at it on the machine where it runs.")
    beat = (found[name] or {}).get(f"latest_{name}_heartbeat")
    if _status(found, name) == "healthy":
        return ok(f"alive, last heartbeat {beat}")
    shown = name.replace("_", "-")
    return Verdict(
        State.ERROR,
        f"not alive, last heartbeat {beat}" if beat else "none has ever run",
        f"Start `airflow {shown}`, or see why it does not live; on Cloud Composer give the environment one.",
    )


def look_at_clock(view: Shared[AirflowView]) -> Verdict | None:
    """Compare this machine's clock with that of Airflow's API server."""
    if not settings.get("airflow_conn_id"):
        return None
    opened = _known(view.get)
    began = time.monotonic()
    theirs = opened.clock()
    if theirs is None:
        raise UnseenError("the answers have no date", "Let the proxy before the API server pass the header Date on.")
    return judged_skew(theirs, datetime.now(UTC), time.monotonic() - began, "the API server", resolution=1.0)


def look_at_plugin() -> Verdict:
    """Look whether the plugin can be loaded, and whether the scheduler has."""
    found = [point for point in importlib.metadata.entry_points(group="airflow.plugins") if point.value == _PLUGIN]
    if not found:
        return Verdict(State.ERROR, "Airflow does not find it in this environment", _REINSTALL)
    found[0].load()
    if settings.get("airflow_conn_id"):
        return ok(f"installed here; the scheduler can do without it, as the DAG {RECONCILER} keeps the record")
    with rows() as session:
        lead = current_lead(session)
    if lead is not None and lead.holds:
        return ok(f"installed here, and loaded beside the reconciler on {lead.host}")
    raise UnseenError(
        "installed here; no reconciler tells that the scheduler has loaded it",
        "Install the package where the scheduler runs; where it loads no plugins, set [accelerator] airflow_conn_id.",
    )


def look_at_reconciler() -> Verdict:
    """Look who leads, and how old the record is."""
    with rows() as session:
        lead = current_lead(session)
    if lead is None or not lead.holds:
        return Verdict(State.ERROR, _told_silent(lead), _start_reconciler())
    seen = f"the one on {lead.host} leads; the record is {_ago(lead.behind)}"
    if lead.behind is not None and lead.behind < _BEHIND:
        return ok(seen)
    remedy = "Look into the log of the reconciler for what keeps it, and see the check airflow."
    return Verdict(State.ERROR if lead.behind is not None and lead.behind >= _FAR_BEHIND else State.WARNING, seen, remedy)


def look_at_dag(view: Shared[AirflowView], dag_id: str, setting: str) -> Verdict | None:
    """
    Look whether a DAG of ours that runs all the time is there and runs.

    :param setting: the DAG is made only where this is set.
    """
    if not settings.get(setting):
        return None
    found = _known(view.get).dag(dag_id)
    if found is None or found.stale:
        return Verdict(
            State.ERROR,
            f"Airflow has no DAG {dag_id}",
            f"Write the DAG files with `accelerator init`, set [accelerator] {setting} for the dag-processor too, and see "
            "Airflow's list of import errors.",
        )
    if found.paused:
        return Verdict(State.ERROR, f"{dag_id} is paused", f"Unpause the DAG {dag_id}.")
    if not found.running:
        return Verdict(State.WARNING, f"no run of {dag_id} is running", f"Look at the last run of {dag_id}, and look again.")
    return ok(f"{dag_id} is running")


def look_at_waiting_requests() -> Verdict:
    """Look how long the oldest request waits."""
    with rows() as session:
        since = oldest_waiting_since(session)
    if since is None:
        return ok("none waits")
    waited = datetime.now(UTC) - since
    seen = f"the oldest has waited {_told(waited)}"
    if waited < _WAITING:
        return ok(seen)
    return Verdict(State.WARNING, seen, "Run `accelerator requests`: its column reason says what each of them waits for.")


def look_at_alerts() -> Verdict | None:
    """Look for rules that cannot be used, and for alerts that nobody got."""
    from provider.alerts import outbox, rule_rows

    allowed = settings.get_list("notifiers")
    with rows() as session:
        read = rule_rows.stored_rules(session, allowed)
        failed, overdue = outbox.unsent(session, datetime.now(UTC) - _WAITING)
    if not allowed and not read.problems:
        return None
    if read.problems:
        names = ", ".join(sorted(read.problems)[:3])
        seen = f"{counted(len(read.problems), 'rule')} cannot be used, such as {names}"
        return Verdict(State.WARNING, seen, "Run `accelerator alerts rules`: it says what is wrong with each of them.")
    if failed or overdue:
        seen = f"given up: {counted(failed, 'alert')}; waiting for {_told(_WAITING)} or longer: {counted(overdue, 'alert')}"
        return Verdict(State.WARNING, seen, "Run `accelerator alerts list`: its column reason says why.")
    return ok(f"{counted(len(read.rules), 'rule')}, and no alert that could not be sent")


def _known(get: Callable[[], Any]) -> Any:
    """Return what Airflow says; what keeps it from that is told by the check ``airflow``."""
    try:
        return get()
    except Exception as error:
        raise UnseenError("Airflow's state cannot be read from here", _SEE_AIRFLOW) from error


def _status(health: Mapping[str, Any], name: str) -> str | None:
    status: str | None = (health.get(name) or {}).get("status")
    return status


def _start_reconciler() -> str:
    if settings.get("airflow_conn_id"):
        return f"Unpause the DAG {RECONCILER}, and see the check triggerer."
    return (
        "Start the scheduler, which hosts it; where it loads no plugins, as on Cloud Composer, set [accelerator] airflow_conn_id."
    )


def _told_silent(lead: Lead | None) -> str:
    if lead is None:
        return "none has ever led here, so batches and task logs are not complete"
    who = f"the one on {lead.host} is silent for {_told(lead.silent)}" if lead.host else "none leads"
    return f"{who}; the record is {_ago(lead.behind)}"


def _ago(behind: timedelta | None) -> str:
    return "not complete yet" if behind is None else f"complete as of {_told(behind)} ago"


def _told(time_: timedelta) -> str:
    return str(timedelta(seconds=max(0, round(time_.total_seconds()))))
