"""``accelerator publish``: checks a message as the inbox would, and publishes it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from provider import messages, settings
from provider.cli.message_file import read_message
from provider.cli.output import say
from provider.exceptions import AcceleratorError, ConfigurationError, MessageError
from provider.hooks.pubsub import check_subscriptions
from provider.hooks.pubsub_publisher import check_topic, topic_of
from provider.hooks.pubsub_publisher import publish as publish_message
from provider.metadata.definitions import all_task_ids
from provider.metadata.engine import read_session
from provider.metadata.inbox_definitions import known_definitions, unknown_task
from provider.metadata.inbox_message import InboxMessage
from provider.texts import quoted, storable

#: Longest name and longest value of an attribute that Pub/Sub takes, in bytes.
_LONGEST_NAME, _LONGEST_VALUE = 256, 1024
#: Stands for the id of a message that has none yet.
_NO_ID = "unpublished"


def publish(args: argparse.Namespace) -> int:
    """
    Publish a message, or with --dry-run only check it.

    :raises AcceleratorError: the inbox would reject the message, or it cannot be read or published.
    """
    topic = None if args.topic is None else check_topic(args.topic)
    data, attributes = read_message(args.file), _attributes(args.attributes)
    message, workflow_id = _checked(data, attributes)
    what = f"{'the end of' if message.kind == 'completion' else 'a start at'} {message.task_id} of {workflow_id}"
    if args.dry_run:
        say(f"The message is {what}, and would be taken. Nothing was published (dry run).")
        return 0
    gcp_conn_id = settings.get("gcp_conn_id")
    topic = topic or _topic_of_dispatcher(gcp_conn_id)
    message_id = publish_message(topic, data, attributes, gcp_conn_id)
    batch_id = f"msg_{message_id}" if message.batch_id == f"msg_{_NO_ID}" else message.batch_id
    say(f"Published as message {message_id} to {topic}: {what}, batch {batch_id}.")
    return 0


def _attributes(given: Iterable[str]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        fits = len(name.encode(errors="replace")) <= _LONGEST_NAME and len(value.encode(errors="replace")) <= _LONGEST_VALUE
        if not (name and equals and fits) or storable(text, len(text)) != text or name in attributes:
            raise AcceleratorError(
                f"--attribute {quoted(text)} is no attribute that Pub/Sub takes; write NAME=VALUE, each name once."
            )
        attributes[name] = value
    return attributes


def _checked(data: bytes, attributes: dict[str, str]) -> tuple[InboxMessage, str]:
    """Return the message and its workflow; raises MessageError with the reason for which the inbox would reject it."""
    # Where it names no batch, the message's id does, which nobody knows yet.
    message = messages.read(data, attributes, _NO_ID, None)
    if message.problem is not None:
        raise MessageError(f"{message.problem} Nothing was published.")
    if message.kind not in ("start", "completion") or message.no_effect is not None:
        raise MessageError("this tells of a file, which Cloud Storage publishes by itself. Nothing was published.")
    with read_session() as session:
        task = known_definitions(session, [message]).task_of(message)
        if task is None:
            from dag_factory.problems import nearest

            close = nearest(message.task_id or "", all_task_ids(session))
            hint = f" Did you mean {close}?" if close else ""
            raise MessageError(f"{unknown_task(message.task_id)}{hint} Nothing was published.")
    return message, task.workflow_id


def _topic_of_dispatcher(gcp_conn_id: str) -> str:
    """Return the topic of the subscriptions that the dispatcher reads, where they have one."""
    names = settings.get_list("pubsub_subscriptions")
    if not names:
        raise ConfigurationError(
            "name the topic with --topic; [accelerator] pubsub_subscriptions names no subscription to tell it."
        )
    topics = {topic_of(name, gcp_conn_id) for name in check_subscriptions(names)}
    if len(topics) > 1:
        raise ConfigurationError(
            f"the dispatcher's subscriptions have several topics: {', '.join(sorted(topics))}; name one with --topic."
        )
    return check_topic(topics.pop())
