from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from provider.emulators.scenario import Scenario
from provider.emulators.server import Emulators
from provider.hooks.powerbi import tokens


@pytest.fixture
def powerbi_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulators]:
    """Power BI and Entra ID with one workspace, and nothing that was kept from another test."""
    monkeypatch.setattr(tokens, "_sources", WeakKeyDictionary())
    monkeypatch.setattr(tokens, "_kept", {})
    workspace = {"name": "Finance", "semantic_models": [{"name": "Sales"}]}
    scenario = Scenario.model_validate({"powerbi": {"workspaces": [workspace]}})
    with Emulators(scenario, folder=tmp_path, pubsub="builtin") as emulators:
        for name, value in emulators.environment().items():
            monkeypatch.setenv(name, value)
        yield emulators


@pytest.fixture
def change_connection(powerbi_cloud: Emulators, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change fields of the connection ``powerbi_default``; ``extra`` is merged."""

    def change(extra: dict[str, Any] | None = None, **fields: Any) -> None:
        connection = json.loads(powerbi_cloud.environment()["AIRFLOW_CONN_POWERBI_DEFAULT"]) | fields
        connection["extra"] |= extra or {}
        monkeypatch.setenv("AIRFLOW_CONN_POWERBI_DEFAULT", json.dumps(connection))

    return change
