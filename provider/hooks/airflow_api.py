"""
Airflow's public REST API (v2), as one user sees it.

.. seealso:: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

import copy
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseHook

from provider.exceptions import ConfigurationError
from provider.hooks.addresses import check_private, connection_address
from provider.hooks.http_call import http_call, is_token, no_cookies
from provider.hooks.remote_job import RemoteCallError
from provider.hooks.wait_budget import WaitBudget
from provider.texts import one_line, sentence
from provider.threads import in_own_thread, within

if TYPE_CHECKING:
    import httpx
    from google.auth.credentials import Credentials

__all__ = ["AirflowApi", "AirflowApiHook", "AirflowApiSettings", "api_path"]

#: Most rows that Airflow gives at once, unless ``[api] maximum_page_limit`` allows fewer.
PAGE = 100
#: Connections of one process.
_CONNECTIONS = 8
_KEEPALIVE_SECONDS = 60.0

_HINTS = {
    401: "Correct login and password of the connection, or its token.",
    403: "Give the connection's user a role that may read DAG runs, task instances and the audit log, such as Viewer.",
}
#: What Airflow's 403 says of a token that it has not issued.
_FOREIGN = "Invalid JWT token"
_HINT_OF_FOREIGN = "Correct the connection's token, or give all of Airflow's API servers the same [api_auth] jwt_secret."
#: ``detail`` of a 404 that says of nothing that it is not there. Airflow names what it has not found; a proxy has no such key,
#: nor has Airflow for a path that it does not know, and an API server that serves other paths alone says what FastAPI says.
_NAMES_NOTHING = (None, "Not Found")
_HINT_OF_CHANGES = "Give the connection's user a role that may start and change DAG runs, such as User."


@dataclass(frozen=True, slots=True)
class AirflowApiSettings:
    """
    What a connection of type ``airflow_api`` says.

    :param address: of the API server, without ``/api/v2``.
    :param login: user of the auth manager; empty where *secret* is a token already.
    :param secret: the user's password, or a bearer token.
    :param gcp_conn_id: connection whose Google identity is the user, as on Cloud Composer; None for the other ways.
    :param impersonation_chain: Google service account to act as.
    :param tls: trusts the certificate authorities of a file of one's own; None for the system's.
    """

    address: str
    login: str = ""
    secret: str = field(default="", repr=False)
    gcp_conn_id: str | None = None
    impersonation_chain: str | None = None
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def from_connection(cls, connection: Any) -> AirflowApiSettings:
        """
        Read an Airflow connection.

        ``host`` is the address of the API server. ``login`` and ``password`` belong to a user of its auth manager; a password
        alone is a bearer token. With ``gcp_conn_id`` in the extra a Google identity is used instead; further extras are
        ``impersonation_chain``, ``ca_file``, and ``allow_http`` for an address without TLS inside a network of one's own.

        :raises ConfigurationError: something is missing.
        """
        where = f"Connection {connection.conn_id}"
        extra = {key: value for key, value in connection.extra_dejson.items() if value not in (None, "")}
        address = connection_address(connection)
        if address is None:
            raise ConfigurationError(f"{where} has no host; give the address of Airflow's API server.")
        if extra.get("allow_http") is not True:
            check_private(address, f"{where}: the host")
        settings = cls(
            address=address,
            login=connection.login or "",
            secret=connection.password or "",
            gcp_conn_id=_text(extra, "gcp_conn_id"),
            impersonation_chain=_text(extra, "impersonation_chain"),
            tls=_tls(where, str(extra["ca_file"])) if "ca_file" in extra else None,
        )
        if not (settings.secret or settings.gcp_conn_id):
            raise ConfigurationError(
                f"{where} says not who asks: give login and password, a bearer token as password, or extra `gcp_conn_id`."
            )
        if settings.secret and not settings.login and not is_token(settings.secret):
            raise ConfigurationError(f"{where}: its password is no bearer token, and it has no login; correct one of them.")
        return settings


class AirflowApiHook(BaseHook):
    """
    Reads a connection to Airflow's REST API.

    :param airflow_conn_id: connection of type ``airflow_api``, see :class:`AirflowApiSettings`.
    """

    conn_name_attr = "airflow_conn_id"
    default_conn_name = "airflow_api"
    conn_type = "airflow_api"
    hook_name = "Airflow REST API"

    def __init__(self, airflow_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.airflow_conn_id = airflow_conn_id

    def get_conn(self, budget: WaitBudget | None = None) -> AirflowApi:
        """Return the API; raises ConfigurationError where the connection is incomplete."""
        settings = AirflowApiSettings.from_connection(self.get_connection(self.airflow_conn_id))
        return AirflowApi(settings, _google_credentials(settings) if settings.gcp_conn_id else None, budget)

    async def aget_conn(self) -> AirflowApi:
        """Return the API, from an event loop."""
        # It blocks, and speaks to the supervisor through this loop. Airflow's aget_connection shares a thread with others.
        return await in_own_thread(self.get_conn, "accelerator-open-airflow")

    def test_connection(self) -> tuple[bool, str]:
        """Ask for one DAG, for Airflow's button Test."""
        try:
            self.get_conn().get("dags", limit=1)
        except (ConfigurationError, RemoteCallError) as error:
            return False, str(error)
        return True, "Airflow's REST API answers."


def api_path(*parts: object) -> str:
    """Return a path below ``/api/v2/`` of parts that are quoted here: ids of DAGs and runs may hold nearly anything."""
    return "/".join(quote(str(part), safe="~") for part in parts)


class AirflowApi:
    """
    The API for one user. Safe to be used by several threads; connections are kept.

    Calls raise :class:`~provider.hooks.remote_job.RemoteCallError`. None is repeated here except once with a new token.

    :param settings: address and user.
    :param credentials: of Google, where the user is a Google identity.
    :param budget: how long a call may take, and an answer be.
    """

    def __init__(
        self, settings: AirflowApiSettings, credentials: Credentials | None = None, budget: WaitBudget | None = None
    ) -> None:
        self.settings = settings
        self._credentials = credentials
        self.budget = budget or WaitBudget()
        #: How many requests were sent, without those for tokens.
        self.calls = 0
        self._token: str | None = None
        self._lock = threading.Lock()
        #: How often a token was asked for, and how the last time failed.
        self._asked = 0
        self._failure: RemoteCallError | None = None

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """
        Return the object in an answer.

        :param path: see :func:`api_path`.
        :param params: query; a list gives the name several times, and None leaves it out.
        """
        found = self._object(self._send("GET", path, params={name: one for name, one in params.items() if one is not None}))
        if found is None:
            raise RemoteCallError(f"Airflow GET {path} answered with something that is no JSON object. Is that the API server?")
        return found

    def find(self, path: str, *, also: tuple[int, ...] = (), **params: Any) -> dict[str, Any] | None:
        """
        Return the object in an answer; None where Airflow says that there is no such thing.

        :param also: further statuses that are answers; one without an object has an empty one.
        :raises RemoteCallError: the call failed, or somebody else than Airflow answered 404.
        """
        response = self._send("GET", path, also=(404, *also), params=params)
        found = self._object(response) or {}
        if response.status_code != 404:
            return found
        if found.get("detail") in _NAMES_NOTHING:
            said = sentence(response.content.decode(errors="replace")) or response.reason_phrase
            raise RemoteCallError(
                f"Airflow GET {path} answered 404 otherwise than Airflow does: {said}. Is that the API server?", status_code=404
            )
        return None

    def listed(self, path: str, entries: str, *, by_cursor: bool = False, **params: Any) -> Iterator[Any]:
        """
        Yield the entries of a list, page by page.

        :param entries: name of the list in the answers.
        :param by_cursor: ask for page after page by cursor, which misses nothing while rows change; not all lists can.
        :raises RemoteCallError: the list has more entries than the budget's ``listed``.
        """
        read, cursor = 0, ""
        while True:
            where: dict[str, Any] = {"cursor": cursor} if by_cursor else {"offset": read}
            answer = self.get(path, limit=PAGE, **where, **params)
            page = answer.get(entries)
            if not isinstance(page, list):
                raise RemoteCallError(f"Airflow GET {path} answered without a list of {entries}. Is that the API server?")
            yield from page
            read += len(page)
            cursor = answer.get("next_cursor") or ""
            total = answer.get("total_entries")
            if not page or (not cursor if by_cursor else not isinstance(total, int) or read >= total):
                return
            if read >= self.budget.listed:
                raise RemoteCallError(f"Airflow GET {path} lists more than {self.budget.listed} entries.", retryable=False)

    def post(self, path: str, body: Mapping[str, Any], *, also: tuple[int, ...] = ()) -> httpx.Response:
        """Send a body; statuses in *also* are answers, too."""
        return self._send("POST", path, also=also, json=body)

    def patch(self, path: str, body: Mapping[str, Any], **params: Any) -> httpx.Response:
        """Send a change of something that is there; *params* are the query."""
        return self._send("PATCH", path, json=body, params=params)

    def clock(self) -> datetime | None:
        """Return the API server's time, cut to seconds, by the header of an answer; None where something took that off."""
        from email.utils import parsedate_to_datetime

        try:
            return parsedate_to_datetime(self._send("GET", "version").headers["Date"])
        except (KeyError, ValueError):
            return None

    def _send(self, method: str, path: str, *, also: tuple[int, ...] = (), **content: Any) -> httpx.Response:
        token = self._bearer(None)
        response = self._call(method, path, token, (401, *also), content)
        if response.status_code == 401:
            response = self._call(method, path, self._bearer(token), also, content)
        return response

    def _call(self, method: str, path: str, token: str, also: tuple[int, ...], content: Mapping[str, Any]) -> httpx.Response:
        self.calls += 1
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.settings.address}/api/v2/{path}"
        try:
            return http_call(method, url, self.budget, name="Airflow", also=also, client=self._client, headers=headers, **content)
        except RemoteCallError as error:
            if hint := _hint(method, error):
                raise RemoteCallError(f"{error} {hint}", retryable=False, status_code=error.status_code) from error
            raise

    @cached_property
    def _client(self) -> httpx.Client:
        import httpx

        return httpx.Client(
            verify=self.settings.tls or httpx.create_ssl_context(),
            cookies=no_cookies(),
            limits=httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_KEEPALIVE_SECONDS),
        )

    def _bearer(self, refused: str | None) -> str:
        """
        Return a token; where one was refused, another one.

        It is asked for by one thread at a time. Those that come meanwhile share what came of it, a failure too: each would
        wait as long again for a server that is silent.
        """
        asked = self._asked
        with self._lock:
            if self._asked != asked and self._failure is not None:
                raise copy.copy(self._failure) from self._failure
            if self._token is None or self._token == refused:
                self._failure = None
                try:
                    self._token = self._new_token()
                except RemoteCallError as error:
                    self._failure = error
                    raise
                finally:
                    self._asked += 1
            return self._token

    def _new_token(self) -> str:
        if self._credentials is not None:
            try:
                return within(self.budget.call, partial(_google_token, self._credentials), "accelerator-google-token")
            except TimeoutError as error:
                raise RemoteCallError(f"Google gave no token for Airflow's API: {error}.") from error
        if not self.settings.login:
            return self.settings.secret
        body = {"username": self.settings.login, "password": self.settings.secret}
        url = f"{self.settings.address}/auth/token"
        token = (self._object(http_call("POST", url, self.budget, name="Airflow", client=self._client, json=body)) or {}).get(
            "access_token"
        )
        if not is_token(token):
            raise RemoteCallError("Airflow POST /auth/token answered without a token. Is that the API server?", retryable=False)
        return str(token)

    @staticmethod
    def _object(response: httpx.Response) -> dict[str, Any] | None:
        try:
            body = response.json()
        except (ValueError, RecursionError):
            return None
        return body if isinstance(body, dict) else None


def _hint(method: str, error: RemoteCallError) -> str | None:
    if error.status_code == 403 and _FOREIGN in str(error):
        return _HINT_OF_FOREIGN
    return _HINT_OF_CHANGES if error.status_code == 403 and method != "GET" else _HINTS.get(error.status_code or 0)


def _text(extra: Mapping[str, Any], name: str) -> str | None:
    return str(extra[name]) if name in extra else None


def _tls(where: str, file: str) -> ssl.SSLContext:
    """Return what trusts the certificate authorities of a PEM file."""
    try:
        if Path(file).is_file():
            return ssl.create_default_context(cafile=file)
    except OSError as error:  # one of OpenSSL is one too
        raise ConfigurationError(
            f"{where}: the file {file} has no certificate that can be read ({one_line(error)}); correct extra `ca_file`."
        ) from error
    raise ConfigurationError(f"{where}: there is no file {file} here; correct extra `ca_file`.")


def _google_credentials(settings: AirflowApiSettings) -> Credentials:
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

    hook = GoogleBaseHook(gcp_conn_id=settings.gcp_conn_id or "", impersonation_chain=settings.impersonation_chain)
    credentials: Credentials = hook.get_credentials()
    return credentials


def _google_token(credentials: Credentials) -> str:
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        credentials.refresh(Request())  # type: ignore[no-untyped-call]
    except GoogleAuthError as error:
        raise RemoteCallError(f"Google gave no token for Airflow's API: {error}") from error
    return str(credentials.token)
