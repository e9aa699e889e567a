"""Operator that publishes messages to a topic of Pub/Sub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from provider.exceptions import ConfigurationError
from provider.hooks.pubsub_publisher import OutgoingMessage, check_ordering_keys, check_topic, publish_all
from provider.plain_data import as_list

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["PubSubPublishOperator"]


class PubSubPublishOperator(BaseOperator):
    """
    Publishes messages to a topic of Pub/Sub.

    The Google provider's ``PubSubPublishMessageOperator`` publishes one after the other, so that a failure in the middle leaves
    the first ones published; it takes bytes alone, which no template and no row can say; and an attribute called ``topic`` or
    ``timeout`` becomes an argument of its client's call. Here all messages go by one call, all of them or none.

    A retry publishes again where a call has got no answer, so a subscriber may see a message twice, as with Pub/Sub at all.

    Returns ``{"topic", "message_ids"}``.

    :param topic: full name, ``projects/PROJECT/topics/TOPIC``. (templated)
    :param messages: each ``{"data", "attributes", "ordering_key"}``, or a single one: a text is published as it is, and any other
        value as JSON. All have the same ordering key, or none has one. (templated)
    :param gcp_conn_id: connection to Google Cloud; not used where ``PUBSUB_EMULATOR_HOST`` is set. (templated)
    :param impersonation_chain: service account to act as, or a chain of them. (templated)
    :raises AirflowFailException: *topic* is no full name, or the messages have different ordering keys.
    :raises RemoteCallError: Pub/Sub did not say that it has the messages.

    .. seealso:: https://cloud.google.com/pubsub/docs/publisher
    """

    ui_color = "#0273d4"
    ui_fgcolor = "#ffffff"
    template_fields: Sequence[str] = ("topic", "messages", "gcp_conn_id", "impersonation_chain")
    template_fields_renderers: ClassVar[dict[str, str]] = {"messages": "json"}

    def __init__(
        self,
        *,
        topic: str,
        messages: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.messages = messages
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - of Airflow
        """Publish, and wait for the ids."""
        messages = [_message(one) for one in as_list(self.messages)]
        try:
            topic = check_topic(self.topic)
            check_ordering_keys(one.ordering_key for one in messages)
        except ConfigurationError as error:
            raise AirflowFailException(str(error)) from error
        ids = publish_all(topic, messages, self.gcp_conn_id, self.impersonation_chain)
        self.log.info("Published %d messages to %s: %s", len(ids), topic, ", ".join(ids))
        return {"topic": topic, "message_ids": ids}


def _message(given: Mapping[str, Any]) -> OutgoingMessage:
    data = given.get("data", "")
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return OutgoingMessage(text.encode(), given.get("attributes") or {}, given.get("ordering_key") or "")
