# ruff: noqa: TID253 - gRPC and the vendor's client are this module's subject, and only the emulators import it
"""
Pub/Sub on loopback: Google's own emulator where the machine has it, else a stand-in of ours.

Google's emulator is part of the Google Cloud CLI (https://cloud.google.com/pubsub/docs/emulator) and needs Java. It
takes no fault rules and writes no ledger; the stand-in does both.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

import grpc
from google.api_core.exceptions import AlreadyExists
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from provider.emulators.ledger import Ledger
from provider.emulators.ports import bound_socket
from provider.emulators.pubsub_builtin import BuiltinPubSub
from provider.emulators.rules import RuleBook
from provider.emulators.scenario import PubSubScenario
from provider.exceptions import AcceleratorError, ConfigurationError

Implementation = Literal["auto", "google", "builtin"]
LAUNCHER = "cloud-pubsub-emulator"
START_SECONDS = 60.0
STOP_SECONDS = 10.0


class PubSubEmulator(Protocol):
    """What both implementations offer."""

    address: str

    def start(self) -> None:
        """Begin to serve."""

    def stop(self) -> None:
        """Stop and leave no process behind."""


def find_google_emulator(environment: Mapping[str, str]) -> Path | None:
    """
    Return Google's launcher script, None without it or without Java.

    Looks on ``PATH``, below ``CLOUDSDK_ROOT_DIR`` and ``CLOUDSDK_ROOT``, and below the SDK that ``gcloud`` belongs to.
    """
    path = environment.get("PATH", "")
    has_java = shutil.which("java", path=path) or (Path(environment.get("JAVA_HOME") or "-") / "bin" / "java").is_file()
    if not has_java:
        return None
    return next((candidate for candidate in _candidates(environment, path) if candidate.is_file()), None)


def _candidates(environment: Mapping[str, str], path: str) -> Iterator[Path]:
    if found := shutil.which(LAUNCHER, path=path):
        yield Path(found).resolve()
    inside = Path("platform", "pubsub-emulator", "bin", LAUNCHER)
    for variable in ("CLOUDSDK_ROOT_DIR", "CLOUDSDK_ROOT"):
        if root := environment.get(variable):
            yield Path(root) / inside
    if gcloud := shutil.which("gcloud", path=path):
        yield Path(gcloud).resolve().parent.parent / inside


def choose_pubsub(
    implementation: Implementation, rules: RuleBook, ledger: Ledger, folder: Path, *, port: int = 0
) -> PubSubEmulator:
    """
    Return the emulator to start.

    :param implementation: ``auto`` prefers Google's, unless a rule wants faults in Pub/Sub.
    :raises ConfigurationError: ``google`` was asked for and is not there, or cannot do what the rules say.
    """
    wants_faults = any(rule["service"] == "pubsub" for rule in rules.describe())
    if implementation == "builtin" or (implementation == "auto" and wants_faults):
        return BuiltinPubSub(rules, ledger, port=port)
    if wants_faults:
        raise ConfigurationError("Google's Pub/Sub emulator takes no fault rules: use pubsub='builtin'.")
    launcher = find_google_emulator(os.environ)
    if launcher:
        return GooglePubSub(launcher, folder, port=port)
    if implementation == "auto":
        return BuiltinPubSub(rules, ledger, port=port)
    raise ConfigurationError(
        f"Google's Pub/Sub emulator was not found ({LAUNCHER} on PATH or below the Google Cloud SDK, and java)."
        " Install it with 'gcloud components install pubsub-emulator', or use pubsub='builtin'."
    )


class GooglePubSub:
    """
    Google's emulator as a child process.

    :param launcher: its start script.
    :param folder: gets the log file ``pubsub-emulator.log``.
    :param port: 0 takes a free one.
    :raises PortTakenError: the port is taken.
    """

    def __init__(self, launcher: Path, folder: Path, *, port: int = 0) -> None:
        self._launcher = launcher
        self._log = folder / "pubsub-emulator.log"
        with bound_socket("127.0.0.1", port) as free:
            self._port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """
        Start the process and wait until it serves.

        :raises AcceleratorError: it ended, or does not serve in time.
        """
        try:
            # A signal's handler that raises runs in the main thread: not between the birth of the process and its record.
            with ThreadPoolExecutor(1) as starter:
                starter.submit(self._spawn).result()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the launcher was found on this machine's own paths
                [str(self._launcher), "--host=127.0.0.1", f"--port={self._port}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, so that the JVM below the shell script can be ended too
            )

    def stop(self) -> None:
        """End the whole process group."""
        if self._process is None:
            return
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal_number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
                break
        # The script may be gone before the JVM is.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        with grpc.insecure_channel(self.address) as channel:
            ready = grpc.channel_ready_future(channel)
            for _ in range(int(START_SECONDS * 2)):
                with suppress(grpc.FutureTimeoutError):
                    ready.result(timeout=0.5)
                    return
                if self._process.poll() is not None:
                    raise AcceleratorError(
                        f"Google's Pub/Sub emulator ended with status {self._process.returncode}; see {self._log}."
                    )
            ready.cancel()
        raise AcceleratorError(f"Google's Pub/Sub emulator does not serve after {START_SECONDS:.0f} s; see {self._log}.")


def create_resources(address: str, scenario: PubSubScenario) -> None:
    """Create the scenario's topics and subscriptions; those that exist are left as they are."""
    with grpc.insecure_channel(address) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        for topic in scenario.topics:
            topic_name = f"projects/{scenario.project}/topics/{topic.name}"
            with suppress(AlreadyExists):
                publisher.create_topic(name=topic_name)
            for subscription in topic.subscriptions:
                with suppress(AlreadyExists):
                    subscriber.create_subscription(
                        request={
                            "name": f"projects/{scenario.project}/subscriptions/{subscription.name}",
                            "topic": topic_name,
                            "ack_deadline_seconds": subscription.ack_deadline_seconds,
                        }
                    )
