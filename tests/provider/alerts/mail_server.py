"""A mail server on this machine, which keeps what it takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from demo.airflow_services import free_port


class Kept:
    """What came; a mail that has *refused* in it is not taken."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refused: bytes | None = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.refused is not None and self.refused in envelope.content:
            return "451 later"
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        self.recipients.append(envelope.rcpt_tos)
        return "250 OK"

    def texts(self) -> list[str]:
        """Return the HTML of each message."""
        found = []
        for message in self.messages:
            body = message.get_body(("html",))
            assert body is not None
            found.append(str(body.get_content()))
        return found


@contextmanager
def mail_server() -> Iterator[tuple[Kept, str]]:
    """Serve; yields what is kept, and an Airflow connection to it as JSON."""
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    kept, port = Kept(), free_port()
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org", "retry_limit": 1}
        yield kept, json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra})
    finally:
        controller.stop()
