"""
Finds workspaces, semantic models, dataflows and reports by their id or name.

.. seealso:: https://learn.microsoft.com/rest/api/power-bi/
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from provider.hooks.powerbi.transport import json_object
from provider.hooks.remote_job import RemoteCallError

if TYPE_CHECKING:
    from provider.hooks.powerbi.transport import PowerBIApi


def path(*parts: str) -> str:
    """Join parts to a path; a part can never become two, whatever is in it."""
    return "/".join(quote(part, safe="") for part in parts)


def is_id(value: str) -> bool:
    """Whether *value* is a GUID, as all ids of workspaces, models, reports and dataflows are."""
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def pick(kind: str, name: str, where: str, found: list[dict[str, Any]], id_key: str = "id") -> dict[str, Any]:
    """
    Return the one item that is called *name*.

    :raises RemoteCallError: there is none, or there are several; the message lists the candidates.
    """
    matches = [item for item in found if item.get("name") == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        ids = ", ".join(sorted(str(item.get(id_key)) for item in matches))
        raise RemoteCallError(f"{kind} {name!r} in {where} is ambiguous: {ids}. Give one of these ids.", retryable=False)
    names = ", ".join(sorted(repr(item.get("name")) for item in found)[:10]) or "none"
    raise RemoteCallError(
        f"There is no {kind} {name!r} in {where} that this application can see. It sees: {names}.", retryable=False
    )


async def resolve_workspace(api: PowerBIApi, workspace: str) -> str:
    """Return the id of a workspace."""
    if is_id(workspace):
        return workspace
    literal = workspace.replace("'", "''")
    found = await api.listed("groups", {"$filter": f"name eq '{literal}'"})
    return str(pick("workspace", workspace, "the tenant", found)["id"])


async def resolve_semantic_model(api: PowerBIApi, workspace_id: str, name: str) -> str:
    """Return the id of a semantic model."""
    if is_id(name):
        return name
    found = await api.listed(path("groups", workspace_id, "datasets"))
    return str(pick("semantic model", name, f"workspace {workspace_id}", found)["id"])


async def resolve_dataflow(api: PowerBIApi, workspace_id: str, name: str) -> str:
    """Return the id of a dataflow."""
    if is_id(name):
        return name
    found = await api.listed(path("groups", workspace_id, "dataflows"))
    return str(pick("dataflow", name, f"workspace {workspace_id}", found, "objectId")["objectId"])


async def resolve_report(api: PowerBIApi, workspace_id: str, report: str) -> tuple[str, str]:
    """Return workspace and id of the semantic model that a report shows; it may be in another workspace."""
    if is_id(report):
        response = await api.get(path("groups", workspace_id, "reports", report))
        item = json_object(response)
    else:
        found = await api.listed(path("groups", workspace_id, "reports"))
        item = pick("report", report, f"workspace {workspace_id}", found)
    if not item.get("datasetId"):
        raise RemoteCallError(
            f"Report {report!r} has no semantic model to refresh (paginated reports have none). Give `semantic_model`.",
            retryable=False,
        )
    return str(item.get("datasetWorkspaceId") or workspace_id), str(item["datasetId"])
