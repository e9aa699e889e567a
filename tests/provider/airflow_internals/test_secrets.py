"""Airflow's masking of secrets, and the backend that keeps them."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest
from airflow import configuration
from airflow.sdk.log import mask_secret
from airflow.secrets import BaseSecretsBackend

from provider.airflow_internals import secrets


def test_secrets_are_masked_by_their_field_and_by_their_text() -> None:
    secrets.mask("c0rrect-h0rse")
    assert secrets.redact("login c0rrect-h0rse refused") == "login *** refused"
    assert secrets.redact({"sql": "SELECT 1", "rows": ["c0rrect-h0rse"]}) == {"sql": "SELECT 1", "rows": ["***"]}
    assert secrets.redact("hunter2", "api_key") == "***"
    assert secrets.redact({"password": "hunter2"}) == {"password": "***"}
    assert secrets.redact("SELECT 1", "sql") == "SELECT 1"


@pytest.mark.parametrize(
    "secret", ["b4ttery  st4ple", "b4tt\nst4p\nl3", "t4b\tst4p", "tr4iling-st4p\n", "  l34ding  (st4p)+ ", "b4ck\\ sl4sh  x"]
)
def test_a_secret_is_masked_whatever_becomes_of_its_spaces(secret: str) -> None:
    """Services' errors are made one line before anybody who knows the secrets sees them."""
    mask_secret(secret)
    for text in (secret, " ".join(secret.split())):
        assert " ".join(secrets.redact(f"login with {text} refused").split()) == "login with *** refused"
        assert secret.split()[0] not in json.dumps(secrets.redact({"rows": [f"x {text} y"]}))


@pytest.mark.parametrize("levels", [1, 6, 7, 60])
def test_a_secret_is_masked_however_deep_it_lies(levels: int) -> None:
    mask_secret("d33p-d0wn-there")
    hidden: object = {"password": "hunter2", "note": ["see d33p-d0wn-there"]}
    for _ in range(levels):
        hidden = [{"a": hidden}]
    found = json.dumps(secrets.redact(hidden))
    assert "hunter2" not in found
    assert "d33p" not in found
    assert '"see ***"' in found


def test_what_is_too_deep_to_be_looked_at_is_not_shown() -> None:
    hidden: object = "hunter2"
    for _ in range(20_000):
        hidden = {"password": [hidden]}
    assert "hunter2" not in json.dumps(secrets.redact({"a": hidden}))


@pytest.mark.parametrize("newline", ["\n", " ", "\\n"])
def test_a_private_key_is_masked_though_nobody_has_told_of_it(newline: str) -> None:
    key = newline.join(["-----BEGIN RSA PRIVATE KEY-----", "MIIEvgIBADANBg", "kqhkiG9w0BAQEF", "-----END RSA PRIVATE KEY-----"])
    assert secrets.redact(f"cannot read {key}: bad") == "cannot read ***: bad"
    assert secrets.redact(f"cannot read {key[:60]}") == "cannot read ***"
    assert secrets.redact({"note": [key]}) == {"note": ["***"]}


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
