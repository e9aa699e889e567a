"""Runs the Azure provider's Power BI hook, as it is installed; in the peers' environment, so it imports nothing of ours."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from airflow.providers.microsoft.azure.hooks.powerbi import PowerBIHook


async def life(group_id: str, dataset_id: str) -> dict[str, Any]:
    """Start a refresh, look at it in both ways, cancel it, look again."""
    hook = PowerBIHook(conn_id="azure_powerbi")
    place = {"dataset_id": dataset_id, "group_id": group_id}
    refresh = await hook.trigger_dataset_refresh(**place, request_body={"type": "full"})
    found = {
        "workspaces": await hook.get_workspace_list(),
        "datasets": await hook.get_dataset_list(group_id=group_id),
        "refresh": refresh,
        "running": await hook.get_refresh_details_by_refresh_id(**place, refresh_id=refresh),
    }
    await hook.cancel_dataset_refresh(**place, dataset_refresh_id=refresh)
    found["history"] = await hook.get_refresh_history(**place)
    await hook.close()
    return found


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(asyncio.run(life(*sys.argv[1:]))) + "\n")
