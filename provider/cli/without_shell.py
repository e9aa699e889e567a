"""What the DAG ``accelerator_maintenance`` does for people who have no shell: commands, with a run's params as arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from provider import settings
from provider.cli.main import run
from provider.cli.parser import build_parser
from provider.metadata.maintenance import downgrade_configured, upgrade_configured

#: A name alone: whoever may trigger a run chooses no other folder of the machine.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\.(yaml|yml|json)")


def change_schema(params: Mapping[str, Any]) -> dict[str, str | None]:
    """
    Upgrade the application database, or take it back to the schema that ``downgrade_to`` names.

    :param params: of the run.
    :return: the revision found and the one that the database now has.
    :raises AirflowFailException: something would be lost and nobody has agreed to it; it says what.
    """
    wanted = params.get("downgrade_to")
    if wanted is None:
        revisions = upgrade_configured()
        return {"before": revisions.found, "after": revisions.needed}
    way = downgrade_configured(wanted, agreed=bool(params.get("agreed")))
    if way.found != way.wanted and not params.get("agreed"):
        raise AirflowFailException(
            f"nothing was changed: with schema {way.found}, on the way back to {way.wanted}, would be lost: "
            f"{'; '.join(way.losses)}. Keep a backup of the database, then trigger the run with agreed = true to lose that."
        )
    return {"before": way.found, "after": way.wanted}


def import_file(params: Mapping[str, Any]) -> None:
    """
    Do what ``accelerator import`` does, with a file of the folder ``import`` in ``[accelerator] snapshot_dir``.

    :param params: of the run; nothing is done where ``workflows`` names no file.
    :raises AirflowFailException: nothing was stored; the log says why.
    :raises AirflowSkipException: there is no file to import.
    """
    name = params.get("workflows")
    if name is None:
        raise AirflowSkipException("no file of workflows was named")
    if params.get("downgrade_to") is not None:
        raise AirflowFailException("workflows and downgrade_to do not go together: import with the version that stays.")
    folder = Path(settings.get("snapshot_dir")).expanduser() / "import"
    if not _FILE_NAME.fullmatch(name):
        raise AirflowFailException(
            f"workflows is {name!r}; give the name of a .yaml or .json file in {folder}, without a folder."
        )
    args = build_parser().parse_args(["import", *(["--prune"] if params.get("prune") else []), str(folder / name)])
    if run(args.command_definition, args) != 0:
        raise AirflowFailException(f"{folder / name} was not imported, nothing was stored; the lines of the log above say why.")
