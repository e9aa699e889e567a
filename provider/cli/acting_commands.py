"""Commands that ask Airflow or Pub/Sub to do something: their arguments. Only the standard library is imported here."""

from __future__ import annotations

from provider.cli.command import Command, argument

CANCEL = Command(
    "cancel",
    "End batches that run: Airflow marks their DAG runs failed, their tasks end and their remote jobs are cancelled",
    "provider.cli.cancel_commands:cancel",
    (
        argument("batch_ids", metavar="BATCH", nargs="+", help="batch ids"),
        argument("--workflow", metavar="WORKFLOW", help="workflow of the batches, where several have one with such an id"),
        argument("--dry-run", action="store_true", help="only show what runs, and which remote jobs would be cancelled"),
    ),
)
