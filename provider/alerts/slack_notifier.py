# ruff: noqa: TID253 - Airflow's notifier is what this module is made of; it is imported when an alert is sent
"""The notifier of channel ``slack``; imported where an alert is sent by it, since its package is not everywhere."""

from __future__ import annotations

from typing import Any

from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

from provider.hooks.remote_job import RemoteCallError
from provider.texts import quoted

_TAKEN = "ok"


class CheckedSlackWebhookNotifier(SlackWebhookNotifier):
    """
    Airflow's own notifier for Slack's webhooks, which takes any page for an answer, such as that of a login it was sent on to.

    Its parameters are those of SlackWebhookNotifier.

    See https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks for what Slack answers.
    """

    def notify(self, context: Any) -> None:  # noqa: ARG002 - Airflow's signature
        """
        Send the alert.

        :raises RemoteCallError: whoever answered did not say that it was taken.
        """
        answer = self.hook.send(
            text=self.text,
            blocks=self.blocks,
            unfurl_links=self.unfurl_links,
            unfurl_media=self.unfurl_media,
            attachments=self.attachments,
        )
        if answer.body != _TAKEN:
            raise RemoteCallError(
                f"the webhook did not answer that it took the alert, but {quoted(answer.body)}; check its address."
            )
