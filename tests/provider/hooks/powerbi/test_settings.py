"""What a connection says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from provider.exceptions import ConfigurationError
from provider.hooks.powerbi.settings import PowerBISettings


def connection(extra: dict[str, Any] | None = None, **fields: Any) -> Any:
    values = {"conn_id": "bi", "login": "app", "password": "s3cret", "host": None, "port": None, "schema": None}
    return SimpleNamespace(**{**values, **fields}, extra_dejson={"tenant_id": "contoso.com", **(extra or {})})


class TestSettings:
    @pytest.mark.parametrize(
        ("cloud", "api_url", "scope", "authority"),
        [
            (None, "https://api.powerbi.com", "https://analysis.windows.net/powerbi/api/.default", "microsoftonline.com"),
            (
                "gcc",
                "https://api.powerbigov.us",
                "https://analysis.usgovcloudapi.net/powerbi/api/.default",
                "microsoftonline.com",
            ),
            (
                "dod",
                "https://api.mil.powerbigov.us",
                "https://mil.analysis.usgovcloudapi.net/powerbi/api/.default",
                "microsoftonline.us",
            ),
            (
                "china",
                "https://api.powerbi.cn",
                "https://analysis.chinacloudapi.cn/powerbi/api/.default",
                "partner.microsoftonline.cn",
            ),
        ],
    )
    def test_cloud_is_a_preset_of_all_addresses(self, cloud, api_url, scope, authority):
        settings = PowerBISettings.from_connection(connection({"cloud": cloud}))

        assert (settings.api_url, settings.scope) == (api_url, scope)
        assert settings.authority == f"https://login.{authority}"
        assert settings.custom_authority is False

    @pytest.mark.parametrize(
        ("fields", "api_url"),
        [
            ({"host": "localhost", "port": 8443}, "https://localhost:8443"),
            ({"host": "https://localhost:8443/"}, "https://localhost:8443"),
        ],
    )
    def test_host_is_another_address(self, fields, api_url):
        assert PowerBISettings.from_connection(connection(**fields)).api_url == api_url

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"extra": {"tenant_id": ""}}, "extra `tenant_id`"),
            ({"login": None, "password": None}, r"login \(client id\), password \(client secret\)"),
            ({"extra": {"cloud": "mars"}}, "extra `cloud` is 'mars'; use one of public, gcc"),
            ({"extra": {"auth": "password"}}, "extra `auth` is 'password'"),
            ({"extra": {"auth": "certificate"}}, "certificate_path"),
            ({"extra": {"profile_id": "Contoso"}}, "extra `profile_id` is 'Contoso'; give the profile's id, a GUID"),
            ({"extra": {"profile_id": 7}}, "extra `profile_id` is '7'"),
            ({"extra": {"profile_id": "81f24a6d7ebb447899c72c36f7870a26"}}, "extra `profile_id` is"),
            ({"extra": {"auth": "managed_identity", "profile_id": "x\r\nHost: y"}}, r"extra `profile_id` is 'x\\r\\nHost: y'"),
        ],
    )
    def test_what_is_missing_is_named(self, changed, reason):
        with pytest.raises(ConfigurationError, match=reason):
            PowerBISettings.from_connection(connection(**changed))

    def test_managed_identity_needs_nothing(self):
        settings = PowerBISettings.from_connection(
            connection({"auth": "managed_identity", "tenant_id": None}, login=None, password=None)
        )
        assert settings.client_id == ""

    def test_a_profile_is_another_identity(self):
        """Settings are the key of tokens and clients."""
        first, second = (f"81f24a6d-7ebb-4478-99c7-2c36f7870a2{number}" for number in range(2))
        of_first = PowerBISettings.from_connection(connection({"profile_id": first}))

        assert of_first.profile_id == first
        assert of_first == PowerBISettings.from_connection(connection({"profile_id": first}))
        assert of_first != PowerBISettings.from_connection(connection({"profile_id": second}))
        assert of_first != PowerBISettings.from_connection(connection())
        assert PowerBISettings.from_connection(connection({"profile_id": ""})).profile_id is None

    def test_secret_is_not_shown(self):
        assert "s3cret" not in repr(PowerBISettings.from_connection(connection()))
