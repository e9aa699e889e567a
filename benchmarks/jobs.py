"""The jobs that the benchmarks of waiting wait for: what the emulators know, and which of it each task instance asks for."""

from __future__ import annotations

import uuid
from typing import Any

#: Refreshes, and as many invocations.
JOBS = 1000
#: Seconds between two polls of one job.
POLL_INTERVAL = 10
#: The emulator finds a model by going through its workspace: keep workspaces of a natural size.
MODELS_PER_WORKSPACE = 50
#: Longer than any benchmark runs.
HOURS = 36000.0

PROJECT_ID, REGION, REPOSITORY_ID = "demo-project", "europe-west3", "sales"
REPOSITORY = f"projects/{PROJECT_ID}/locations/{REGION}/repositories/{REPOSITORY_ID}"


def models() -> list[dict[str, str]]:
    """Return workspace and name of each semantic model, in the order of the task instances that refresh them."""
    return [
        {"workspace": f"workspace {number // MODELS_PER_WORKSPACE}", "semantic_model": f"model {number}"}
        for number in range(JOBS)
    ]


def scenario() -> dict[str, Any]:
    """Return as many semantic models as there are jobs, and a repository; nothing ends while it is measured."""
    workspaces: dict[str, list[dict[str, Any]]] = {}
    for place in models():
        # The Azure provider finds the id of a refresh nowhere but in this header.
        model = {"id": str(uuid.uuid4()), "seconds": HOURS, "refresh_id_headers": ["location", "RequestId"]}
        workspaces.setdefault(place["workspace"], []).append({"name": place["semantic_model"], **model})
    action = {"target": {"name": "orders"}, "seconds": HOURS}
    return {
        "powerbi": {"workspaces": [{"name": name, "semantic_models": found} for name, found in workspaces.items()]},
        "dataform": {"repositories": {REPOSITORY: {"actions": [action]}}},
    }
