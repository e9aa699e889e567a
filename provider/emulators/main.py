"""Run the emulators in the foreground until someone ends them: the work of ``accelerator emulators``."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from provider.emulators.ports import PortTakenError
from provider.emulators.pubsub import Implementation
from provider.emulators.scenario import load_scenario
from provider.emulators.server import Emulators, Ports
from provider.exceptions import ConfigurationError
from provider.files import replace_file


def run(
    scenario_file: Path | None = None,
    *,
    ports: Ports | None = None,
    env_file: Path | None = None,
    folder: Path | None = None,
    pubsub: Implementation = "auto",
) -> int:
    """
    Start the emulators, print what to export, and serve until SIGINT or SIGTERM.

    :param scenario_file: YAML scenario; None makes repositories, workspaces and models up on their first use.
    :param ports: fixed ports; the default takes free ones.
    :param env_file: gets the exports too (mode 0600), for ``source``.
    :param folder: gets certificates, ledger and logs; None uses a temporary one.
    :param pubsub: which Pub/Sub to start.
    :return: the exit status, 0.
    :raises ConfigurationError: the scenario cannot be used, a port is taken, or the Pub/Sub asked for is not there.
    """
    scenario = load_scenario(scenario_file) if scenario_file else None
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    previous = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # At once: their servers take seconds.
        sys.stdout.write("# Starting Dataform, Power BI with Entra ID, Pub/Sub and their own interface …\n")
        sys.stdout.flush()
        with Emulators(scenario, folder=folder, pubsub=pubsub, ports=ports) as emulators:
            exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in emulators.environment().items())
            if env_file:
                replace_file(env_file, exports.encode(), mode=0o600)
            sys.stdout.write(
                f"{exports}# ledger: {emulators.admin_url}/_emulator/ledger\n"
                f"# rules:  {emulators.admin_url}/_emulator/rules\n# Serving. End with Ctrl-C.\n"
            )
            sys.stdout.flush()
            ended.wait()
        sys.stdout.write("# Stopped.\n")
    except PortTakenError as error:
        option = next(f"--{name}-port" for name, port in asdict(ports or Ports()).items() if port == error.port)
        raise ConfigurationError(
            f"port {error.port} of {error.host} is taken, perhaps by `accelerator emulators` that run already. Choose another "
            f"with {option}; 0 takes a free one."
        ) from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0
