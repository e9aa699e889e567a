"""Checks of Pub/Sub, Dataform and Power BI, as the settings and the stored tasks name them."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from provider import settings
from provider.doctor.database import SEE_DATABASE, rows
from provider.doctor.examination import Check, State, Verdict, ok
from provider.exceptions import RemoteJobError, UnseenError
from provider.hooks.pubsub import CONSUME, SubscriberAsyncHook, check_subscriptions
from provider.hooks.wait_budget import WaitBudget
from provider.threads import within

#: Time of one call to a service, and for reading which connections the tasks name, in seconds.
CALL_SECONDS = 8.0
_ROWS_SECONDS = 8.0
#: A shorter acknowledgement deadline, in seconds, has messages delivered again while they are stored.
_SHORT_DEADLINE = 30
#: How many repositories of a connection are asked for.
_REPOSITORIES = 3

_ROLE = "Give the account of [accelerator] gcp_conn_id the role roles/pubsub.subscriber on the subscription."
_SUBSCRIPTION = (
    "Correct [accelerator] pubsub_subscriptions and gcp_conn_id, and see that the subscription exists, and that Pub/Sub is "
    "reached from this machine."
)
_SEE_PAGE = (
    "and see that the service is reached from this machine: the page on configuration says which fields the connection has and "
    "which roles its account needs."
)


@dataclass(frozen=True)
class Named:
    """
    A connection that tasks name.

    :param field: ``gcp_conn_id`` or ``powerbi_conn_id``.
    :param identity: further fields that choose an identity, and their values.
    """

    field: str
    conn_id: str
    identity: tuple[str, ...] = ()


def service_checks() -> list[Check]:
    """Return the checks, which the settings and the stored tasks decide."""
    return [*_subscription_checks(), *_connection_checks()]


def _subscription_checks() -> list[Check]:
    names = dict.fromkeys(settings.get_list("pubsub_subscriptions"))
    if names:
        _import_first("google.pubsub_v1", "provider.hooks.google_service")
    return [Check(f"Pub/Sub {name}", partial(look_at_subscription, name), _SUBSCRIPTION) for name in names]


def look_at_subscription(name: str) -> Verdict:
    """Look whether a subscription is there, may be consumed from, and is made as it should be."""
    check_subscriptions(name)
    return asyncio.run(_look_at_subscription(name))


async def _look_at_subscription(name: str) -> Verdict:
    from google.api_core.exceptions import PermissionDenied

    hook = SubscriberAsyncHook(settings.get("gcp_conn_id"))
    emulated = bool(os.environ.get("PUBSUB_EMULATOR_HOST"))
    try:
        # Emulators know no permissions.
        if not emulated and not await hook.may_consume(name, CALL_SECONDS):
            return Verdict(State.ERROR, f"the account may not consume from it ({CONSUME}), or it is not there", _ROLE)
        found = await hook.look_at(name, CALL_SECONDS)
    except PermissionDenied:
        remedy = "Give the account roles/pubsub.viewer on the subscription too, or look at it yourself."
        raise UnseenError("the account may consume from it; how it is made cannot be seen", remedy) from None
    finally:
        await hook.close()
    return judged_subscription(found, emulated=emulated)


def judged_subscription(found: Any, *, emulated: bool) -> Verdict:
    """Judge how a subscription is made; one of an emulator needs no dead letter topic."""
    if found.detached or found.topic == "_deleted-topic_":
        return Verdict(State.ERROR, "its topic is gone, so no message arrives", "Create the subscription anew, on a topic.")
    seen = [f"there, acknowledgement deadline {found.ack_deadline_seconds} s"]
    lacks, options = [], []
    if found.ack_deadline_seconds < _SHORT_DEADLINE:
        lacks.append("an acknowledgement deadline of 60 s")
        options.append("--ack-deadline=60")
    if found.dead_letter_policy.dead_letter_topic:
        seen.append(f"dead letters go to {found.dead_letter_policy.dead_letter_topic}")
    elif emulated:
        seen.append("no dead letter topic, which an emulator does not need")
    else:
        seen.append("no dead letter topic")
        lacks.append("a dead letter topic")
        options.append("--dead-letter-topic=TOPIC")
    if not lacks:
        return ok(", ".join(seen))
    command = f"gcloud pubsub subscriptions update {found.name} {' '.join(options)}"
    return Verdict(State.WARNING, ", ".join(seen), f"Give it {' and '.join(lacks)}: `{command}`.")


def _connection_checks() -> list[Check]:
    """Return a check for each connection of the stored tasks; one that says so where these cannot be read."""
    try:
        tasks = within(_ROWS_SECONDS, _stored_tasks, "accelerator-doctor-tasks")
    except (UnseenError, TimeoutError):
        return [Check("connections of tasks", _unread, SEE_DATABASE)]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks count too
        return [Check("connections of tasks", partial(_fail, error), SEE_DATABASE)]
    if tasks:
        _import_first("provider.hooks.google_service", "provider.hooks.powerbi.hook", "provider.hooks.dataform.hook")
    checks = []
    for named, configs in sorted(named_connections(tasks).items(), key=lambda item: str(item[0])):
        look = look_at_power_bi if named.field == "powerbi_conn_id" else look_at_dataform
        what = "Power BI" if named.field == "powerbi_conn_id" else "Dataform"
        as_whom = f" as {', '.join(named.identity)}" if named.identity else ""
        remedy = f"Correct the connection {named.conn_id}, {_SEE_PAGE}"
        checks.append(Check(f"{what} {named.conn_id}{as_whom}", partial(look, named, configs), remedy))
    return checks


def _import_first(*modules: str) -> None:
    """Import what the checks need before there are several threads: libraries import each other in circles."""
    for module in modules:
        importlib.import_module(module)


def _unread() -> Verdict:
    raise UnseenError("the stored tasks cannot be read, so nothing says which there are", SEE_DATABASE)


def _fail(error: Exception) -> Verdict:
    raise error


def _stored_tasks() -> list[dict[str, Any]]:
    from provider.metadata.definition_rows import read_definitions

    with rows() as session:
        return read_definitions(session).tasks


def named_connections(tasks: Iterable[Mapping[str, Any]]) -> dict[Named, list[Mapping[str, Any]]]:
    """Return the connections to Dataform and Power BI that tasks name, each with the configurations that do."""
    found: dict[Named, list[Mapping[str, Any]]] = defaultdict(list)
    for task in tasks:
        config = task["config"] if isinstance(task["config"], Mapping) else {}
        if task["task_type"] == "power_bi_refresh":
            found[Named("powerbi_conn_id", str(config.get("powerbi_conn_id") or "powerbi_default"))].append(config)
        elif task["task_type"] == "dataform":
            chain = config.get("impersonation_chain") or ()
            identity = (chain,) if isinstance(chain, str) else tuple(str(one) for one in chain)
            found[Named("gcp_conn_id", str(config.get("gcp_conn_id") or "google_cloud_default"), identity)].append(config)
    return found


def look_at_power_bi(named: Named, _: Iterable[Mapping[str, Any]]) -> Verdict:
    """Get a new token with a connection, and ask for one workspace."""
    from provider.hooks.powerbi.hook import PowerBIHook

    _refuse_templates(named)
    well, told = PowerBIHook(named.conn_id, budget=WaitBudget(call=CALL_SECONDS)).test_connection()
    if not well:
        raise RemoteJobError(told)
    return ok(told)


def look_at_dataform(named: Named, configs: Iterable[Mapping[str, Any]]) -> Verdict:
    """Ask for repositories of the tasks with a connection, which takes a token."""
    from provider.hooks.dataform.hook import DataformInvocationHook

    _refuse_templates(named)
    places = {tuple(str(config.get(part)) for part in ("project_id", "region", "repository_id")) for config in configs}
    known = sorted(place for place in places if not any("{" in part for part in place))[:_REPOSITORIES]
    hook = DataformInvocationHook(named.conn_id, named.identity or None, budget=WaitBudget(call=CALL_SECONDS / _REPOSITORIES))
    hook.connect()
    if not known:
        raise UnseenError("the connection can be read; its repositories are templates", "Look at a run of such a task.")
    for project_id, region, repository_id in known:
        hook.look_at(project_id, region, repository_id)
    return ok(f"sees {', '.join('/'.join(place) for place in known)}")


def _refuse_templates(named: Named) -> None:
    if any("{" in text for text in (named.conn_id, *named.identity)):
        raise UnseenError("the connection is a template", "Look at a run of such a task.")
