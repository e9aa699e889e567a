"""What a connection of type ``powerbi`` says: which cloud, which identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from provider.exceptions import ConfigurationError
from provider.hooks.addresses import check_private, connection_address
from provider.hooks.paths import is_guid, is_part
from provider.texts import quoted

AuthMethod = Literal["client_secret", "certificate", "managed_identity", "google_federation"]


@dataclass(frozen=True, slots=True)
class PowerBICloud:
    """
    Addresses of one Microsoft cloud.

    :param api: base address of the REST API.
    :param resource: what a token is asked for; ``/.default`` makes it a scope.
    :param authority: Entra ID.
    :param portal: the Power BI service that people use.
    """

    api: str
    resource: str
    authority: str
    portal: str


_PUBLIC_LOGIN = "https://login.microsoftonline.com"
_US_LOGIN = "https://login.microsoftonline.us"

#: .. seealso:: https://learn.microsoft.com/power-bi/developer/embedded/embed-sample-for-customers-national-clouds
CLOUDS: dict[str, PowerBICloud] = {
    "public": PowerBICloud(
        "https://api.powerbi.com",
        "https://analysis.windows.net/powerbi/api",
        _PUBLIC_LOGIN,
        "https://app.powerbi.com",
    ),
    "gcc": PowerBICloud(
        "https://api.powerbigov.us",
        "https://analysis.usgovcloudapi.net/powerbi/api",
        _PUBLIC_LOGIN,
        "https://app.powerbigov.us",
    ),
    "gcc_high": PowerBICloud(
        "https://api.high.powerbigov.us",
        "https://high.analysis.usgovcloudapi.net/powerbi/api",
        _US_LOGIN,
        "https://app.high.powerbigov.us",
    ),
    "dod": PowerBICloud(
        "https://api.mil.powerbigov.us",
        "https://mil.analysis.usgovcloudapi.net/powerbi/api",
        _US_LOGIN,
        "https://app.mil.powerbigov.us",
    ),
    "china": PowerBICloud(
        "https://api.powerbi.cn",
        "https://analysis.chinacloudapi.cn/powerbi/api",
        "https://login.partner.microsoftonline.cn",
        "https://app.powerbi.cn",
    ),
}


@dataclass(frozen=True, slots=True)
class PowerBISettings:
    """
    A connection, checked. Equal settings share one token and one client per process.

    :param auth: how the token is asked for.
    :param tenant_id: id or domain of the Entra ID tenant.
    :param client_id: the application's (service principal's) id; of a user-assigned managed identity, or empty for the
        system-assigned one.
    :param secret: client secret, or the passphrase of the certificate's private key.
    :param certificate_path: PEM file with certificate and private key, or PFX file.
    :param api_url: base address of the REST API, without ``/v1.0/myorg``.
    :param scope: scope of the token.
    :param authority: address of Entra ID, without the tenant.
    :param custom_authority: True for an authority that is not one of Microsoft's; it is not looked up in Microsoft's
        list of clouds.
    :param portal_url: the Power BI service, for links.
    :param ca_file: PEM file of the certificate authorities to trust; None for the system's.
    :param profile_id: profile of the service principal that Power BI is called as; None for the service principal itself.
        Entra ID knows nothing of profiles.
    """

    auth: AuthMethod
    tenant_id: str
    client_id: str
    secret: str = field(repr=False)
    certificate_path: str | None
    api_url: str
    scope: str
    authority: str
    custom_authority: bool
    portal_url: str
    ca_file: str | None
    profile_id: str | None

    @property
    def token_hosts(self) -> frozenset[str]:
        """The hosts that may be asked for a token, with the secret: that of the authority, and Microsoft's own."""
        logins = (self.authority, *(cloud.authority for cloud in CLOUDS.values()))
        return frozenset(host for login in logins if (host := urlsplit(login).hostname))

    @classmethod
    def from_connection(cls, connection: Any) -> PowerBISettings:
        """
        Read an Airflow connection.

        ``login`` is the client id, ``password`` the secret, ``host`` another address of the REST API; the extra takes
        ``tenant_id``, ``cloud``, ``auth``, ``certificate_path``, ``authority``, ``portal_url``, ``ca_file`` and ``profile_id``.

        :raises ConfigurationError: something is missing or unknown.
        """
        where = f"Connection {connection.conn_id}"
        extra = {key: value for key, value in connection.extra_dejson.items() if value not in (None, "")}
        cloud = _choice(where, "cloud", extra.get("cloud", "public"), CLOUDS)
        auth = _choice(where, "auth", extra.get("auth", "client_secret"), get_args(AuthMethod))
        settings = cls(
            auth=auth,
            tenant_id=str(extra.get("tenant_id", "")),
            client_id=connection.login or "",
            secret=connection.password or "",
            certificate_path=extra.get("certificate_path"),
            api_url=connection_address(connection) or CLOUDS[cloud].api,
            scope=f"{CLOUDS[cloud].resource}/.default",
            authority=str(extra.get("authority", CLOUDS[cloud].authority)).rstrip("/"),
            custom_authority="authority" in extra,
            portal_url=str(extra.get("portal_url", CLOUDS[cloud].portal)).rstrip("/"),
            ca_file=extra.get("ca_file"),
            profile_id=str(extra["profile_id"]) if "profile_id" in extra else None,
        )
        settings._check(where)
        return settings

    def _check(self, where: str) -> None:
        if self.ca_file and not Path(self.ca_file).is_file():
            raise ConfigurationError(f"{where}: there is no file {self.ca_file} here; correct extra `ca_file`.")
        check_private(self.api_url, f"{where}: the host")
        if self.profile_id is not None and not is_guid(self.profile_id):
            raise ConfigurationError(f"{where}: extra `profile_id` is {quoted(self.profile_id)}; give the profile's id, a GUID.")
        if self.auth == "managed_identity":
            return
        check_private(self.authority, f"{where}: extra `authority`")
        if self.tenant_id and not is_part(self.tenant_id):
            raise ConfigurationError(f"{where}: extra `tenant_id` is {quoted(self.tenant_id)}; give the tenant's id or domain.")
        missing = [] if self.tenant_id else ["extra `tenant_id`"]
        if not self.client_id:
            missing.append("login (client id)")
        if self.auth == "client_secret" and not self.secret:
            missing.append("password (client secret)")
        if self.auth == "certificate" and not self.certificate_path:
            missing.append("extra `certificate_path`")
        if missing:
            raise ConfigurationError(f"{where}: auth {self.auth} needs {', '.join(missing)}.")


def _choice(where: str, name: str, value: Any, choices: Any) -> Any:
    if value not in choices:
        raise ConfigurationError(f"{where}: extra `{name}` is {value!r}; use one of {', '.join(choices)}.")
    return value
