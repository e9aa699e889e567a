"""``accelerator db``: the schema of the application database."""

from __future__ import annotations

import argparse
import sys

from provider.metadata import retention
from provider.metadata.maintenance import configured_revisions, downgrade_configured, upgrade_configured
from provider.metadata.schema import refuse_newer


def upgrade(args: argparse.Namespace) -> int:  # noqa: ARG001 - every handler takes the arguments
    """Upgrade the schema and say from what to what."""
    revisions = upgrade_configured()
    if revisions.found == revisions.needed:
        sys.stdout.write(f"The application database already has schema {revisions.needed}.\n")
    else:
        sys.stdout.write(f"Upgraded the application database from schema {revisions.found or 'none'} to {revisions.needed}.\n")
    return 0


def downgrade(args: argparse.Namespace) -> int:
    """
    Take the schema back, or say what that would lose.

    :raises SchemaOutOfDateError: there is no such way back, or something has to be done before.
    """
    way = downgrade_configured(args.to, agreed=args.yes)
    if way.found == way.wanted:
        sys.stdout.write(f"The application database already has schema {way.wanted}.\n")
        return 0
    sys.stdout.write(f"{'Lost' if args.yes else 'Would be lost'} with schema {way.found}, on the way back to {way.wanted}:\n")
    sys.stdout.writelines(f"- {loss}\n" for loss in way.losses)
    if not args.yes:
        sys.stderr.write("error: nothing was changed; keep a backup of the database, then say --yes to lose that.\n")
        return 1
    sys.stdout.write(
        f"The application database has schema {way.wanted}. Install the version that needs it before you go on: with this one an "
        "SQLite file is upgraded again at the next use, and PostgreSQL is refused.\n"
    )
    return 0


def clean(args: argparse.Namespace) -> int:
    """
    Delete old batches and say how many.

    :raises AcceleratorError: the day is not long enough ago.
    """
    cleaned = retention.clean(args.before, dry_run=args.dry_run)
    what = f"{cleaned.batches} batches that ended before {args.before:%Y-%m-%d}, with {cleaned.tries} task logs"
    what += f", and {cleaned.alerts} alerts"
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
