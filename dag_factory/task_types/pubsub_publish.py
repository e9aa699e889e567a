"""Task type ``pubsub_publish``: publish messages to a topic of Pub/Sub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, StrictStr, model_validator

from dag_factory.specs import Spec
from dag_factory.task_types import OperatorCall, TaskConfig, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, Text, Texts
from dag_factory.templates import is_template
from provider.exceptions import ConfigurationError
from provider.hooks.pubsub_publisher import check_ordering_keys, check_topic
from provider.plain_data import as_list
from provider.texts import quoted


def _topic(value: str) -> str:
    if is_template(value):
        return value
    with _told():
        return check_topic(value)


def _one_key(value: tuple[PubSubMessage, ...]) -> tuple[PubSubMessage, ...]:
    with _told():
        check_ordering_keys(key for message in value if not is_template(key := message.ordering_key or ""))
    return value


@contextmanager
def _told() -> Iterator[None]:
    """Tell what the publisher refuses as pydantic wants it."""
    try:
        yield
    except ConfigurationError as error:
        raise ValueError(str(error).rstrip(".")) from None


def _attributes(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if name.lower().startswith("goog"):
            raise ValueError(f"{quoted(name)} begins with goog, which Pub/Sub keeps for itself; rename it")
        if len(name.encode()) > MOST_OF_NAME:
            raise ValueError(f"{quoted(name)} is longer than {MOST_OF_NAME} bytes; shorten it")
    return value


#: Bounds of Pub/Sub: messages of a call, attributes of a message, bytes of their names, and of an ordering key.
#: .. seealso:: https://cloud.google.com/pubsub/quotas#resource_limits
MOST_MESSAGES, MOST_ATTRIBUTES, MOST_OF_NAME, MOST_OF_KEY = 1000, 100, 256, 1024

Attributes = Annotated[dict[Text, StrictStr], Field(max_length=MOST_ATTRIBUTES), AfterValidator(_attributes)]


class PubSubMessage(Spec):
    """
    A message.

    :param data: a text is published as it is, any other value as JSON.
    :param ordering_key: messages of one key reach a subscription that asks for it in their order. All of a task have the same.
    """

    data: JsonValue = ""
    attributes: Attributes = Field(default_factory=dict)
    ordering_key: Annotated[Text, Field(max_length=MOST_OF_KEY)] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.data in ("", None) and not self.attributes:
            raise ValueError("give data, or attributes; Pub/Sub takes no empty message")
        return self


Messages = Annotated[
    tuple[PubSubMessage, ...],
    BeforeValidator(as_list, json_schema_input_type=PubSubMessage | tuple[PubSubMessage, ...]),
    Field(min_length=1, max_length=MOST_MESSAGES),
    AfterValidator(_one_key),
]


class PubSubPublishConfig(TaskConfig):
    """
    Configuration of what is published.

    Parameters: see :class:`provider.operators.pubsub.PubSubPublishOperator`.
    """

    topic: Templated[Annotated[Text, AfterValidator(_topic)]]
    messages: Templated[Messages]
    gcp_conn_id: Templated[Text | None] = None
    impersonation_chain: Templated[Texts | None] = None


def operator(config: PubSubPublishConfig) -> OperatorCall:
    """Return the operator of a ``pubsub_publish`` task."""
    from provider.operators.pubsub import PubSubPublishOperator

    given: dict[str, Any] = operator_arguments(config)
    return PubSubPublishOperator, given


TASK_TYPE = TaskType("pubsub_publish", PubSubPublishConfig, operator, REMOTE_JOB_DEFAULTS, keeps_templates=True)
