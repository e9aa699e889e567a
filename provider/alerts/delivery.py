"""
How alerts leave: by Airflow's notifiers, or as Pub/Sub messages.

A notifier renders its parameters as templates. What is foreign, such as an error of a service, gets into them as a value that a
template names, and is never a template itself.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provider.airflow_internals.secrets import redact
from provider.alerts.rules import TOPIC
from provider.alerts.wording import message_of
from provider.exceptions import AcceleratorError, ConfigurationError
from provider.texts import quoted
from provider.threads import within

if TYPE_CHECKING:
    from provider.alerts.outbox import ClaimedAlert
    from provider.alerts.rules import AlertRule

#: How long sending one message may take, in seconds.
SEND_SECONDS = 60.0
_STATUS = {"failure": "ERROR", "success": "SUCCESS"}


@dataclass(frozen=True)
class Channel:
    """
    A notifier by a short name.

    :param class_path: of the notifier.
    :param package: that has it.
    :param texts: parameters that carry the alert, which a rule may say otherwise.
    :param keys: what else the config of a rule may say; a file of the worker, for one, is nothing to send.
    """

    class_path: str
    package: str
    texts: Mapping[str, str]
    keys: frozenset[str]


CHANNELS: Mapping[str, Channel] = {
    "mail": Channel(
        "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
        "apache-airflow-providers-smtp",
        {"subject": "{{ alert.title }}", "html_content": "{{ alert.html }}"},
        frozenset({"to", "cc", "bcc", "from_email", "smtp_conn_id"}),
    ),
    "slack": Channel(
        "provider.alerts.slack_notifier.CheckedSlackWebhookNotifier",
        "apache-airflow-providers-slack",
        {"text": "{{ alert.slack }}"},
        frozenset({"slack_webhook_conn_id", "timeout"}),
    ),
    "teams": Channel(
        "provider.alerts.apprise_notifier.CheckedAppriseNotifier",
        "apache-airflow-providers-apprise",
        {"body": "{{ alert.markdown }}", "body_format": "markdown"},
        frozenset({"apprise_conn_id", "tag", "title"}),
    ),
}


def send(rule: AlertRule, alerts: Sequence[ClaimedAlert], base_url: str, gcp_conn_id: str) -> None:
    """
    Send alerts of one rule and one batch.

    :param base_url: of Airflow's API server, for links.
    :param gcp_conn_id: connection whose account publishes to topics, where the rule names no other.
    :raises ConfigurationError: the rule cannot be carried out, now or later.
    :raises TimeoutError: it took longer than a minute.
    """
    if rule.notifier == TOPIC:
        _publish(rule, alerts[0], gcp_conn_id)
        return
    notifier = build_notifier(rule.notifier, rule.config)
    # Masked before it is escaped or cut: of a secret that is, nothing would be found. And after, for what is in no column.
    masked = [_masked(alert) for alert in alerts]
    context = {"alert": redact(message_of(masked, base_url))}
    within(SEND_SECONDS, lambda: notifier(context), "accelerator-alert")


def _masked(alert: ClaimedAlert) -> ClaimedAlert:
    texts = {name: redact(value) for name, value in vars(alert).items() if isinstance(value, str) and name != "rule_id"}
    return replace(alert, **texts, details=redact(alert.details))


def build_notifier(name: str, config: Mapping[str, Any]) -> Any:
    """
    Return an Airflow notifier.

    :param name: a key of :data:`CHANNELS`, or a class path.
    :param config: its parameters.
    :raises ConfigurationError: there is none of that name, or it does not take these.
    """
    channel = CHANNELS.get(name)
    if channel is not None:
        known = channel.keys | channel.texts.keys()
        if unknown := sorted(set(config) - known):
            raise ConfigurationError(f"{name} does not take {quoted(unknown[0])} in config; it takes {', '.join(sorted(known))}.")
    notifier_class = _notifier_class(channel.class_path if channel is not None else name, channel)
    try:
        return notifier_class(**{**(channel.texts if channel is not None else {}), **config})
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} does not take what config says: {error}") from error


def _notifier_class(path: str, channel: Channel | None) -> type[Any]:
    from airflow.sdk import BaseNotifier

    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        remedy = f"install {channel.package} on the workers" if channel is not None else "correct the class path"
        raise ConfigurationError(f"the notifier {path} cannot be imported ({error}); {remedy}.") from error
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise ConfigurationError(f"{path} is not an Airflow notifier; name a class made from airflow.sdk.BaseNotifier.")
    return found


def _publish(rule: AlertRule, alert: ClaimedAlert, gcp_conn_id: str) -> None:
    from provider.hooks.pubsub_publisher import check_topic, publish

    config = dict(rule.config)
    topic, conn_id = config.pop("topic", None), config.pop("gcp_conn_id", gcp_conn_id)
    if config or not isinstance(topic, str) or not isinstance(conn_id, str):
        raise ConfigurationError("topic takes in config topic, a full name, and gcp_conn_id, and nothing else.")
    attributes = {"event_id": alert.event_id, "event": alert.event, "workflow_id": alert.workflow_id}
    publish(check_topic(topic), json.dumps(topic_message(alert)).encode(), attributes, conn_id)


def topic_message(alert: ClaimedAlert) -> dict[str, Any]:
    """
    Return the data of a Pub/Sub message, a completion as docs/messages.md has it where a task or a batch has ended.

    :return: ``workflow_id``, ``batch_id``, ``event``; ``previous_task_id`` of a task; ``status`` and ``error`` of an end.
    """
    told = {
        "workflow_id": alert.workflow_id,
        "batch_id": alert.batch_id,
        "previous_task_id": alert.task_id,
        "status": _STATUS.get(alert.event),
        "error": alert.details.get("error") or alert.details.get("note"),
        "event": alert.event,
    }
    found: dict[str, Any] = redact({name: value for name, value in told.items() if value is not None})
    return found


def reason_of(error: BaseException) -> str:
    """Return why something was not sent, for people; no secret that Airflow knows is in it."""
    said = str(error) if isinstance(error, AcceleratorError) else f"{type(error).__name__}: {error}"
    return str(redact(said))
