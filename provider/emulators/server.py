"""All emulators together: start, where they are, what a user exports to reach them, stop."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from provider.emulators.admin import AdminServer
from provider.emulators.dataform import DataformEmulator
from provider.emulators.entra import TokenStore
from provider.emulators.ledger import Ledger
from provider.emulators.powerbi import PowerBIEmulator
from provider.emulators.pubsub import Implementation, choose_pubsub, create_resources
from provider.emulators.rules import RuleBook
from provider.emulators.scenario import ClientSpec, Scenario, default_scenario
from provider.emulators.timeline import Timers
from provider.emulators.tls import issue_certificate


@dataclass(frozen=True)
class Ports:
    """Where each emulator listens; 0 takes a free port."""

    dataform: int = 0
    powerbi: int = 0
    pubsub: int = 0
    admin: int = 0


class Emulators:
    """
    Context manager around Dataform, Power BI with Entra ID, Pub/Sub and the admin interface, all on loopback.

    :param scenario: what they know; None makes everything up on its first use.
    :param folder: gets ``ca.pem``, ``server.pem``, ``ledger.jsonl`` and logs; None uses a temporary one.
    :param pubsub: which Pub/Sub to start, see :func:`provider.emulators.pubsub.choose_pubsub`.
    :param ports: fixed ports.
    :raises ConfigurationError: on entry, when a port is taken or the Pub/Sub asked for is not there.
    """

    dataform_endpoint: str
    powerbi_url: str
    authority: str
    ca_file: Path
    pubsub_host: str
    admin_url: str
    tokens: TokenStore

    def __init__(
        self,
        scenario: Scenario | None = None,
        *,
        folder: Path | None = None,
        pubsub: Implementation = "auto",
        ports: Ports | None = None,
    ) -> None:
        self.scenario = scenario or default_scenario()
        self.rules = RuleBook(self.scenario.rules)
        self.ledger = Ledger()
        self._folder = folder
        self._pubsub = pubsub
        self._ports = ports or Ports()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start everything and wait until it serves."""
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Stop everything; no process and no port is left."""
        self._stack.close()

    def environment(self) -> dict[str, str]:
        """Return the environment variables by which Airflow and the vendors' clients reach the emulators."""
        client = self.scenario.powerbi.clients[0] if self.scenario.powerbi.clients else ClientSpec()
        powerbi = {
            "conn_type": "powerbi",
            "login": client.client_id,
            "password": client.client_secret,
            "host": self.powerbi_url,
            "extra": {"tenant_id": client.tenant_id, "authority": self.authority, "ca_file": str(self.ca_file)},
        }
        google = {
            "conn_type": "google_cloud_platform",
            "extra": {
                "project": self.scenario.pubsub.project,
                "is_anonymous": True,
                "dataform_endpoint": self.dataform_endpoint,
            },
        }
        return {
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "AIRFLOW_CONN_POWERBI_DEFAULT": json.dumps(powerbi),
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(google),
        }

    def _start(self, stack: ExitStack) -> None:
        # What is exported is used from other folders than this one.
        folder = (self._folder or Path(stack.enter_context(TemporaryDirectory(prefix="emulators-")))).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(folder / "ledger.jsonl")
        certificate = issue_certificate(folder)
        timers = Timers()
        stack.callback(timers.stop)

        dataform = DataformEmulator(self.scenario, self.rules, self.ledger, timers, port=self._ports.dataform)
        stack.callback(dataform.stop)
        powerbi = PowerBIEmulator(
            self.scenario,
            self.rules,
            self.ledger,
            timers,
            certificate_file=certificate.certificate_file,
            port=self._ports.powerbi,
        )
        stack.callback(powerbi.stop)
        pubsub = choose_pubsub(self._pubsub, self.rules, self.ledger, folder, port=self._ports.pubsub)
        stack.callback(pubsub.stop)
        admin = AdminServer(self.ledger, self.rules, powerbi.tokens, port=self._ports.admin)
        stack.callback(admin.stop)
        stack.callback(powerbi.begin_stop)
        for emulator in (dataform, powerbi, pubsub, admin):
            emulator.start()
        create_resources(pubsub.address, self.scenario.pubsub)

        self.dataform_endpoint = f"http://{dataform.address}"
        self.powerbi_url = powerbi.url
        self.authority = powerbi.url
        self.ca_file = certificate.ca_file
        self.pubsub_host = pubsub.address
        self.admin_url = admin.url
        self.tokens = powerbi.tokens
