"""Airflow's masking of secrets, and the backend that keeps them."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from airflow import configuration
from airflow.sdk.log import mask_secret
from airflow.secrets import BaseSecretsBackend

from provider.airflow_internals import secrets


def test_secrets_are_masked_by_their_field_and_by_their_text() -> None:
    mask_secret("c0rrect-h0rse")
    assert secrets.redact("login c0rrect-h0rse refused") == "login *** refused"
    assert secrets.redact({"sql": "SELECT 1", "rows": ["c0rrect-h0rse"]}) == {"sql": "SELECT 1", "rows": ["***"]}
    assert secrets.redact("hunter2", "api_key") == "***"
    assert secrets.redact({"password": "hunter2"}) == {"password": "***"}
    assert secrets.redact("SELECT 1", "sql") == "SELECT 1"


class Backend(BaseSecretsBackend):
    def get_config(self, key: str) -> str | None:
        return {"tables-url": "postgresql://db/accelerator"}.get(key)


def test_a_setting_comes_from_the_configured_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("backend_of_a_test")
    vars(module)["Backend"] = Backend
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert secrets.from_secrets_backend("tables-url") is None
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "backend_of_a_test.Backend")
    assert configuration.get_custom_secret_backend() is not None
    assert secrets.from_secrets_backend("tables-url") == "postgresql://db/accelerator"
    assert secrets.from_secrets_backend("unknown") is None
