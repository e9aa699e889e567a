"""``accelerator emulators``: serves the local stand-ins for the cloud services."""

from __future__ import annotations

import argparse
from pathlib import Path

from provider.exceptions import ConfigurationError


def serve(args: argparse.Namespace) -> int:
    """
    Serve until SIGINT or SIGTERM.

    :raises ConfigurationError: the extra ``emulators`` is not installed; see also :func:`provider.emulators.main.run`.
    """
    try:
        # Here and not at the top: the packages of an extra may be missing, and that gets a word of its own.
        from provider.emulators.main import run
        from provider.emulators.server import Ports
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the emulators need the package {error.name}: pip install 'airflow-provider-cloud-accelerator[emulators]'."
        ) from error
    return run(
        Path(args.scenario) if args.scenario else None,
        ports=Ports(dataform=args.dataform_port, powerbi=args.powerbi_port, pubsub=args.pubsub_port, admin=args.admin_port),
        env_file=Path(args.env_file) if args.env_file else None,
        folder=Path(args.folder) if args.folder else None,
        pubsub=args.pubsub,
    )
