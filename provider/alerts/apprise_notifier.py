# ruff: noqa: TID253 - Airflow's notifier is what this module is made of; it is imported when an alert is sent
"""The notifier of channel ``teams``; imported where an alert is sent by it, since its package is not everywhere."""

from __future__ import annotations

import re
from typing import Any

import apprise
from airflow.providers.apprise.notifications.apprise import AppriseNotifier

from provider.airflow_internals.secrets import mask
from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import RemoteCallError

#: Shorter parts of an address are words, and stand in other texts too.
_SHORTEST_SECRET = 12


def _mask_addresses(config: Any) -> None:
    """Mask what in an address opens or signs what it leads to: Airflow does not know that its ``path`` is a secret."""
    for one in config if isinstance(config, list) else [config]:
        path = str(one.get("path", "")) if isinstance(one, dict) else ""
        place, _, below = (path.partition("://")[2] or path).partition("/")
        for part in (path, place.rpartition("@")[0], *re.split(r"[/?&=]", below)):
            if len(part) >= _SHORTEST_SECRET:
                mask(part)


class CheckedAppriseNotifier(AppriseNotifier):
    """
    Airflow's own notifier for Apprise, which does not look whether the other side has taken the message.

    Its parameters are those of AppriseNotifier. Of several services in its connection one that takes no message fails the
    whole of it, and all of them are told again.

    See https://github.com/caronc/apprise/wiki/Notify_workflows for Teams.
    """

    def notify(self, context: Any) -> None:  # noqa: ARG002 - Airflow's signature
        """
        Send the alert.

        :raises ConfigurationError: the connection names no service with that tag.
        :raises RemoteCallError: a service did not take it; Apprise's line in the log says why.
        """
        # Sent on to another page, such as that of a login, a message is lost, and the page no answer of the service.
        services = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        connection = self.hook.get_connection(self.apprise_conn_id)
        _mask_addresses(self.hook.get_config_from_conn(conn=connection))
        self.hook.set_config_from_conn(conn=connection, apprise_obj=services)
        if not any(services.find(self.tag)):
            raise ConfigurationError(f"connection {self.apprise_conn_id} has no service that Apprise knows with tag {self.tag}.")
        if not services.notify(self.body, self.title or "", self.notify_type, body_format=self.body_format, tag=self.tag):
            raise RemoteCallError(
                f"a service of connection {self.apprise_conn_id} did not take the alert; the task's log says why."
            )
