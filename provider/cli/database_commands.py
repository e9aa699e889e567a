"""``accelerator db``: the schema of the application database."""

from __future__ import annotations

import argparse
import sys

from provider.metadata import retention
from provider.metadata.maintenance import configured_revisions, upgrade_configured
from provider.metadata.schema import refuse_newer


def upgrade(args: argparse.Namespace) -> int:  # noqa: ARG001 - every handler takes the arguments
    """Upgrade the schema and say from what to what."""
    revisions = upgrade_configured()
    if revisions.found == revisions.needed:
        sys.stdout.write(f"The application database already has schema {revisions.needed}.\n")
    else:
        sys.stdout.write(f"Upgraded the application database from schema {revisions.found or 'none'} to {revisions.needed}.\n")
    return 0


def clean(args: argparse.Namespace) -> int:
    """
    Delete old batches and say how many.

    :raises AcceleratorError: the day is not long enough ago.
    """
    cleaned = retention.clean(args.before, dry_run=args.dry_run)
    what = f"{cleaned.batches} batches that ended before {args.before:%Y-%m-%d}, with {cleaned.tries} task logs"
    sys.stdout.write(f"Would delete {what}.\n" if args.dry_run else f"Deleted {what}.\n")
    return 0


def current(args: argparse.Namespace) -> int:  # noqa: ARG001 - every handler takes the arguments
    """Show the schema; exit code 1 where it is not the one this version needs."""
    revisions = configured_revisions()
    refuse_newer(revisions.found)
    if revisions.found == revisions.needed:
        sys.stdout.write(f"Schema {revisions.needed}, as this version needs.\n")
        return 0
    sys.stdout.write(
        f"Schema {revisions.found or 'none'}; this version needs {revisions.needed}: run `accelerator db upgrade`.\n"
    )
    return 1
