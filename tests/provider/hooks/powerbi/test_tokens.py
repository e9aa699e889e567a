"""Tokens, and the ways to prove who we are."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from provider.emulators.rules import Rule
from provider.exceptions import ConfigurationError
from provider.hooks.powerbi import tokens
from provider.hooks.powerbi.hook import PowerBIHook
from provider.hooks.powerbi.settings import PowerBISettings
from provider.hooks.remote_job import RemoteCallError
from tests.identities import certificate_file


def token(settings: PowerBISettings) -> str:
    """Ask for a token in an event loop that has none yet."""

    async def ask() -> str:
        return await tokens.token_sources.source(settings).token(5.0)

    return asyncio.run(ask())


class TestConnection:
    def test_connection_gets_a_token_and_sees_a_workspace(self, powerbi_cloud):
        assert PowerBIHook().test_connection() == (
            True,
            "Application 55555555-5555-4555-8555-555555555555 got a token, and it sees workspace 'Finance'.",
        )

    def test_wrong_secret_is_told_without_the_secret(self, powerbi_cloud, change_connection):
        change_connection(password="not-the-secret")

        ok, text = PowerBIHook().test_connection()

        assert ok is False
        assert "invalid_client" in text
        assert "Check the credentials" in text
        assert "not-the-secret" not in text
        assert "\n" not in text

    def test_corrected_secret_works_at_once(self, powerbi_cloud, change_connection):
        """msal answers for a minute from what it remembers of a refusal."""
        change_connection(password="not-the-secret")
        assert PowerBIHook().test_connection()[0] is False
        change_connection()
        assert PowerBIHook().test_connection()[0] is True

    def test_unreachable_address_is_told(self, powerbi_cloud, change_connection):
        change_connection(host="https://localhost:1")

        ok, text = PowerBIHook().test_connection()

        assert ok is False
        assert "was not answered: ConnectError" in text

    def test_certificate_of_an_unknown_authority_is_refused(self, powerbi_cloud, change_connection):
        change_connection({"ca_file": None})

        ok, text = PowerBIHook().test_connection()

        assert ok is False
        assert "SSLError" in text
        assert not powerbi_cloud.ledger.entries()  # nothing was sent, no secret and no token

    def test_missing_ca_file_is_told(self, powerbi_cloud, change_connection):
        change_connection({"ca_file": "/nowhere/ca.pem"})

        ok, text = PowerBIHook().test_connection()

        assert ok is False
        assert "/nowhere/ca.pem" in text


class TestTokens:
    def settings(self) -> PowerBISettings:
        return PowerBIHook().settings

    async def test_many_cold_callers_ask_once(self, powerbi_cloud):
        source = tokens.token_sources.source(await asyncio.to_thread(self.settings))

        received = set(await asyncio.gather(*(source.token(5.0) for _ in range(10))))

        assert len(received) == 1
        assert len(powerbi_cloud.ledger.entries(service="entra")) == 1

    async def test_equal_settings_share_a_source(self, powerbi_cloud):
        sources = tokens.token_sources
        assert sources.source(await asyncio.to_thread(self.settings)) is sources.source(await asyncio.to_thread(self.settings))

    async def test_many_callers_with_an_expired_token_renew_it_once(self, powerbi_cloud):
        source = tokens.token_sources.source(await asyncio.to_thread(self.settings))
        old = await source.token(5.0)

        renewed = {await source.renewed(old, 5.0) for _ in range(3)}

        assert len(renewed) == 1
        assert old not in renewed
        assert len(powerbi_cloud.ledger.entries(service="entra")) == 2

    async def test_silent_entra_is_waited_for_once_and_its_failure_is_shared(self, powerbi_cloud):
        """Callers wait in no pool: what else this process does in threads goes on."""
        powerbi_cloud.rules.add(Rule(service="entra", match="POST *", fault="delay", seconds=2.0))
        source = tokens.token_sources.source(await asyncio.to_thread(self.settings))

        failures = await asyncio.gather(*(source.token(0.3) for _ in range(20)), return_exceptions=True)

        assert {type(failure) for failure in failures} == {RemoteCallError}
        assert len({str(failure) for failure in failures}) == 1
        assert "no answer within 0.3 seconds" in str(failures[0])
        assert await asyncio.to_thread(lambda: "free") == "free"
        assert await source.token(5.0)

    def test_passing_trouble_of_entra_is_retryable(self, powerbi_cloud):
        powerbi_cloud.rules.add(Rule(service="entra", match="POST *", fault="status", http_status=503))

        with pytest.raises(RemoteCallError) as failure:
            token(self.settings())
        assert failure.value.retryable is True

    def test_unreadable_certificate_is_told(self, powerbi_cloud, change_connection):
        change_connection({"auth": "certificate", "certificate_path": "/nowhere/app.pem"})

        with pytest.raises(ConfigurationError, match="/nowhere/app.pem"):
            token(self.settings())

    @pytest.mark.parametrize("kind", ["pem", "pfx"])
    def test_certificate_signs_an_assertion(self, powerbi_cloud, change_connection, tmp_path, kind):
        path = certificate_file(tmp_path, kind, "pass phrase")
        change_connection({"auth": "certificate", "certificate_path": str(path)}, password="pass phrase")

        assert token(self.settings())

    def test_google_account_stands_for_the_application(self, powerbi_cloud, change_connection, monkeypatch):
        import jwt
        from google.oauth2 import id_token

        audiences: list[str] = []

        def fetch(request: Any, audience: str) -> str:
            audiences.append(audience)
            return jwt.encode({"sub": "1", "aud": audience, "exp": time.time() + 600}, "k" * 32)

        monkeypatch.setattr(id_token, "fetch_id_token", fetch)
        change_connection({"auth": "google_federation"}, password=None)

        assert token(self.settings())
        assert audiences == ["api://AzureADTokenExchange"]
