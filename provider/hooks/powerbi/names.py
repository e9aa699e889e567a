"""
Finds workspaces, semantic models, dataflows and reports by their id or name.

.. seealso:: https://learn.microsoft.com/rest/api/power-bi/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider.hooks.paths import is_guid, path
from provider.hooks.powerbi.answers import Item, read
from provider.hooks.powerbi.errors import GEN2_HINT
from provider.hooks.powerbi.transport import json_object
from provider.hooks.remote_job import RemoteCallError
from provider.texts import quoted

if TYPE_CHECKING:
    from provider.hooks.powerbi.transport import PowerBIApi

#: How many names or ids an error lists.
NAMED = 10
#: The most workspaces that the service lists at once.
MOST_WORKSPACES = "5000"


def pick(kind: str, name: str, where: str, found: list[Item], hint: str = "") -> str:
    """
    Return the id of the one item that is called *name*, without regard to case where no item is called exactly so.

    :param hint: what else to say where there is none.
    :raises RemoteCallError: there is none, or there are several; the message lists the candidates.
    """
    matches = [item for item in found if item.name == name]
    matches = matches or [item for item in found if (item.name or "").casefold() == name.casefold()]
    ids = sorted({item.id for item in matches if item.id is not None})
    if len(ids) == 1:
        return ids[0]
    shown = quoted(name)
    if ids:
        raise RemoteCallError(
            f"{kind} {shown} in {where} is ambiguous: {', '.join(ids[:NAMED])}. Give one of these ids.", retryable=False
        )
    if matches:
        raise RemoteCallError(f"The service lists {kind} {shown} in {where} without an id. Give its id.")
    names = sorted({quoted(item.name) for item in found if item.name})
    sees = ", ".join(names[:NAMED]) or "none"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    parts = [f"There is no {kind} {shown} in {where} that this application can see. It sees: {sees}{more}.", hint]
    raise RemoteCallError(" ".join(part for part in parts if part), retryable=False)


async def resolve_workspace(api: PowerBIApi, workspace: str) -> str:
    """Return the id of a workspace."""
    if is_guid(workspace):
        return workspace
    literal = workspace.replace("'", "''")
    found = await api.listed("groups", {"$filter": f"name eq '{literal}'"})
    # The filter may compare with case; and whoever mistyped a name wants to know the others.
    found = found or await api.listed("groups", {"$top": MOST_WORKSPACES})
    return pick("workspace", workspace, "the tenant", found)


async def resolve_semantic_model(api: PowerBIApi, workspace_id: str, name: str) -> str:
    """Return the id of a semantic model."""
    if is_guid(name):
        return name
    found = await api.listed(path("groups", workspace_id, "datasets"))
    return pick("semantic model", name, f"workspace {workspace_id}", found)


async def resolve_dataflow(api: PowerBIApi, workspace_id: str, name: str) -> str:
    """Return the id of a dataflow."""
    if is_guid(name):
        return name
    found = await api.listed(path("groups", workspace_id, "dataflows"))
    return pick("dataflow", name, f"workspace {workspace_id}", found, GEN2_HINT)


async def resolve_report(api: PowerBIApi, workspace_id: str, report: str) -> tuple[str, str]:
    """Return workspace and id of the semantic model that a report shows; it may be in another workspace."""
    if is_guid(report):
        item = read(Item, json_object(await api.get(path("groups", workspace_id, "reports", report))))
    else:
        found = await api.listed(path("groups", workspace_id, "reports"))
        report_id = pick("report", report, f"workspace {workspace_id}", found)
        item = next(item for item in found if item.id == report_id)
    if item.dataset_id is None:
        raise RemoteCallError(
            f"Report {report!r} has no semantic model to refresh (paginated reports have none). Give `semantic_model`.",
            retryable=False,
        )
    return item.dataset_workspace_id or workspace_id, item.dataset_id
