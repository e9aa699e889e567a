"""Asks for tokens with msal: the ways to prove who we are, and what a refusal means."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import RemoteCallError
from provider.texts import first_line

if TYPE_CHECKING:
    import requests

    from provider.hooks.powerbi.settings import PowerBISettings

_FEDERATION_AUDIENCE = "api://AzureADTokenExchange"
#: Longest answer of Entra ID, in bytes.
_LONGEST_ANSWER = 2**20
_PASSING_ERRORS = frozenset({"temporarily_unavailable", "server_error", "request_timeout"})


class Issuer:
    """
    Entra ID, or the endpoint of a managed identity, as one application asks it. Everything here blocks.

    :param settings: identity and authority.
    """

    def __init__(self, settings: PowerBISettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._sessions: list[requests.Session] = []

    def __str__(self) -> str:
        if self._settings.auth == "managed_identity":
            return "The managed identity endpoint of this machine"
        return f"Entra ID at {self._settings.authority}"

    def forget(self) -> None:
        """Forget the tokens that msal keeps by itself. Its own way to do so asks Entra ID, and fails with it."""
        self._client = None

    def break_off(self) -> None:
        """End the calls that other threads are in, and let no other begin: what is asked of it from now on fails."""
        for session in list(self._sessions):
            for adapter in session.adapters.values():
                adapter.break_off()  # type: ignore[attr-defined]  # _bounded has put it there

    def issue(self, timeout: float) -> dict[str, Any]:
        """
        Return ``{"access_token", "expires_in", …}``.

        :param timeout: seconds for one exchange with the endpoint; there can be two or three.
        :raises RemoteCallError: there was no token.
        :raises ConfigurationError: the certificate cannot be read.
        """
        import msal
        import requests

        try:
            if self._client is None:
                session = _session(self._settings, timeout)
                self._sessions = [session]
                self._client = _build_client(self._settings, session, self._google_session)
            if self._settings.auth == "managed_identity":
                answer = self._client.acquire_token_for_client(resource=self._settings.scope.removesuffix("/.default"))
            else:
                answer = self._client.acquire_token_for_client(scopes=[self._settings.scope])
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else None
            raise RemoteCallError(f"{self} gave no token: {status or type(error).__name__}.", status_code=status) from error
        except msal.exceptions.MsalError as error:  # an answer of Entra ID that says nothing about the credentials
            raise RemoteCallError(f"{self} gave no token: {self._line(error)}") from error
        except ValueError as error:
            raise self._unreadable(error) from error
        except (TypeError, ArithmeticError, LookupError, AttributeError, RuntimeError) as error:  # msal checks no answer's types
            raise RemoteCallError(f"{self} gave no token: its answer is unreadable ({type(error).__name__}).") from error
        if not isinstance(answer, dict) or "access_token" not in answer:
            raise self._refusal(answer if isinstance(answer, dict) else {})
        return answer

    def _google_session(self) -> requests.Session:
        """Return a session for Google's client, which has timeouts of its own, and sends its secrets to Google alone."""
        import requests

        session = _bounded(requests.Session(), None, private=False)
        # One for each assertion; the one before has ended, since tokens are asked for one after the other.
        self._sessions = [*self._sessions[:1], session]
        return session

    def _unreadable(self, error: ValueError) -> RemoteCallError:
        """Return the error for what msal cannot read: a page of a proxy, or the description of a tenant that is none."""
        if self._settings.auth == "managed_identity" or isinstance(error, json.JSONDecodeError):
            return RemoteCallError(f"{self} gave no token: its answer is unreadable: {self._line(error)}")
        return RemoteCallError(
            f"{self} does not know tenant {self._settings.tenant_id}: {self._line(error)} "
            "Check `tenant_id`, `cloud` and `authority` of the connection.",
            retryable=False,
        )

    def _refusal(self, answer: dict[str, Any]) -> RemoteCallError:
        code = self._line(answer.get("error", "unknown_error")).rstrip(".")
        return RemoteCallError(
            f"Entra ID gave no token for application {self._settings.client_id or '(system identity)'}: {code}: "
            f"{self._line(answer.get('error_description', ''))} Check the credentials of the connection "
            f"(auth {self._settings.auth}).",
            retryable=code in _PASSING_ERRORS,
        )

    def _line(self, text: Any) -> str:
        """Return the first line of a text from outside, without the secret should it repeat that."""
        line = _reason(text)
        return line.replace(self._settings.secret, "***") if self._settings.secret else line


def _reason(text: Any) -> str:
    """Return the first line of a text as a sentence."""
    return f"{first_line(text).rstrip('.') or 'no reason given'}."


def _build_client(settings: PowerBISettings, session: requests.Session, google_session: Callable[[], requests.Session]) -> Any:
    """Build the msal client. That reads the authority's description from the network."""
    import msal

    if settings.auth == "managed_identity":
        identity = (
            msal.UserAssignedManagedIdentity(client_id=settings.client_id)
            if settings.client_id
            else msal.SystemAssignedManagedIdentity()
        )
        return msal.ManagedIdentityClient(identity, http_client=session)
    return msal.ConfidentialClientApplication(
        settings.client_id,
        client_credential=_CREDENTIALS[settings.auth](settings, google_session),
        authority=f"{settings.authority}/{settings.tenant_id}",
        instance_discovery=False if settings.custom_authority else None,
        http_client=session,
    )


def _session(settings: PowerBISettings, timeout: float) -> requests.Session:
    """
    Return a session for msal, which trusts ``ca_file``.

    It always has a timeout (msal passes none to one it is given) and bounded answers, and follows no redirect: a 307 would
    carry the secret to wherever the answer says. So would the description of the tenant, which names the address for tokens:
    it has to be on a host of Entra ID. The endpoint of a managed identity has http only, and is sent no secret.
    """
    import requests
    from requests.utils import get_environ_proxies

    private = settings.auth != "managed_identity"
    session = _bounded(requests.Session(), timeout, private=private, hosts=settings.token_hosts if private else None)
    session.max_redirects = 0
    if settings.ca_file:
        # REQUESTS_CA_BUNDLE would win over `verify`; the proxies of the environment still hold.
        session.trust_env = False
        session.verify = settings.ca_file
        session.proxies.update(get_environ_proxies(settings.authority))
    return session


def _bounded(session: requests.Session, timeout: float | None, **limits: Any) -> requests.Session:
    from provider.hooks.bounded_session import BoundedAdapter

    for scheme in ("https://", "http://"):
        session.mount(scheme, BoundedAdapter(_LONGEST_ANSWER, timeout, **limits))
    return session


def _client_secret(settings: PowerBISettings, _: object) -> str:
    return settings.secret


def _certificate(settings: PowerBISettings, _: object) -> dict[str, Any]:
    """Read a PEM file with certificate and private key, or name a PFX file; msal reads the latter itself."""
    path = Path(settings.certificate_path or "")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read the certificate {path}: {error.strerror}. Correct `certificate_path` of the connection."
        ) from error
    pem = b"-----BEGIN" in content
    _check_certificate(path, content, settings.secret, pem=pem)
    passphrase = {"passphrase": settings.secret} if settings.secret else {}
    if pem:
        text = content.decode("ascii", errors="replace")
        return {"private_key": text, "public_certificate": text, **passphrase}
    return {"private_key_pfx_path": str(path), **passphrase}


def _check_certificate(path: Path, content: bytes, passphrase: str, *, pem: bool) -> None:
    """Open a certificate as msal will, whose own errors do not tell a passphrase from a tenant."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
    from cryptography.x509 import load_pem_x509_certificate

    password = passphrase.encode() or None
    try:
        if pem:
            load_pem_private_key(content, password)
            load_pem_x509_certificate(content)
        elif None in pkcs12.load_key_and_certificates(content, password)[:2]:
            raise ValueError("it lacks the private key or the certificate")
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"Cannot open the certificate {path}: {_reason(error)} It must hold a private key and its certificate; "
            "the passphrase, if it has one, is the password of the connection."
        ) from error


def _google_federation(_settings: PowerBISettings, google_session: Callable[[], requests.Session]) -> dict[str, Any]:
    """
    Let the Google service account of this machine stand for the application; no secret is kept anywhere.

    .. seealso:: https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust-gcp
    """

    def assertion() -> str:
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
        from google.auth.transport.requests import Request
        from google.oauth2.id_token import fetch_id_token

        try:
            return str(fetch_id_token(Request(google_session()), _FEDERATION_AUDIENCE))  # type: ignore[no-untyped-call]
        except DefaultCredentialsError as error:
            raise ConfigurationError(
                f"auth google_federation finds no Google service account here: {_reason(error)} Run where a service "
                "account is attached, or set GOOGLE_APPLICATION_CREDENTIALS to a service account's file."
            ) from error
        except GoogleAuthError as error:
            # The client calls a lost connection not retryable, as it has retried that itself; for us it is.
            raise RemoteCallError(
                f"Google gave no identity token to show to Entra ID: {_reason(error)}",
                retryable=isinstance(error, TransportError) or bool(error.retryable),
            ) from error

    return {"client_assertion": assertion}


_CREDENTIALS = {
    "client_secret": _client_secret,
    "certificate": _certificate,
    "google_federation": _google_federation,
}
