"""
One request over an Airflow connection to an HTTP service: bounded in time and size, with an answer that has no secret in it.

The HTTP provider's ``HttpHook`` says what a connection means. What it leaves open is decided here: it waits for ever, follows
redirects with the headers of the connection, reads whatever comes, and writes the whole answer of an error into the log.
"""

from __future__ import annotations

import importlib.util
import json as json_format
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from provider.airflow_internals.secrets import mask
from provider.exceptions import ConfigurationError
from provider.hooks.http_answer import MOST_KEPT, HttpAnswer, read
from provider.hooks.http_connection import TOKEN, check_connection
from provider.hooks.http_secrets import secrets_of
from provider.hooks.paths import check_path
from provider.hooks.remote_job import RemoteCallError
from provider.texts import quoted, sentence
from provider.threads import within

if TYPE_CHECKING:
    import requests

    from provider.hooks.bounded_session import BoundedAdapter

#: Methods whose requests have no body.
_BODYLESS = frozenset({"GET", "HEAD"})
#: Methods that change nothing at the service: a request without an answer has done nothing.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Name of the thread that sends.
_THREAD = "accelerator-http"
#: Loggers of urllib3 that tell the address with its query.
_TELLTALES = ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry")

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
#: Values of headers as they travel: no control characters, and no space around them.
_VALUE = re.compile(r"(?! )[\x20-\x7e\xa0-\xff]*(?<! )")
#: Headers that carry credentials, which belong into the connection, and those that say where a request goes or ends.
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_OF_TRANSPORT = frozenset({"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"})


def check_package() -> None:
    """
    Look for the package with the hook, which is an extra of this one.

    :raises ConfigurationError: it is not installed.
    """
    try:
        found = importlib.util.find_spec("airflow.providers.http")
    except ModuleNotFoundError:  # without Airflow
        found = None
    if found is None:
        raise ConfigurationError(
            "Requests to HTTP services need the package apache-airflow-providers-http, which is not installed here. Install "
            "airflow-provider-cloud-accelerator[http] on all machines of Airflow."
        )


def check_headers(headers: Mapping[str, Any], *, values: bool = True) -> None:
    """
    Look at the headers that a task gives.

    :param values: look at what they say, too; False before templates are rendered.
    :raises ConfigurationError: one cannot be sent, or is not for a task to say.
    """
    for name, value in headers.items():
        if not TOKEN.fullmatch(name):
            raise ConfigurationError(f"{quoted(name)} is no name of a header; write one such as X-Request-Id.")
        if name.lower() in _SECRET_HEADERS:
            raise ConfigurationError(f"{name} carries a secret; put it into the connection (login, password or extra).")
        if name.lower() in _OF_TRANSPORT:
            raise ConfigurationError(f"{name} is set by the connection itself; leave it out.")
        if values and not (isinstance(value, str) and _VALUE.fullmatch(value)):
            raise ConfigurationError(f"The header {name} has a value that HTTP does not carry: {quoted(value)}. Correct it.")


def placeholders(endpoint: str) -> list[str]:
    """
    Return the names in braces of an endpoint.

    :raises ConfigurationError: it is more than a path, or has other braces.
    """
    if set("?#\\") & set(endpoint) or "://" in endpoint or endpoint.startswith("//"):
        raise ConfigurationError(
            f"endpoint is a path behind the address of the connection, not {quoted(endpoint)}; what follows a ? is written in "
            "query_parameters."
        )
    if set("{}") & set(_PLACEHOLDER.sub("", endpoint)):
        raise ConfigurationError(f"endpoint has a brace that belongs to no placeholder such as {{name}}: {quoted(endpoint)}.")
    return _PLACEHOLDER.findall(endpoint)


def filled(endpoint: str, parameters: Mapping[str, Any]) -> str:
    """
    Return an endpoint with values in the place of its placeholders, each of them one part of the path.

    :raises ConfigurationError: a value is missing, superfluous or empty, or the path would be another one.
    """
    names = set(placeholders(endpoint))
    check_texts("endpoint", [endpoint])
    if names != parameters.keys():
        odd = sorted(names ^ parameters.keys())[0]
        told = "has no value in path_parameters" if odd in names else "is in path_parameters, and not in endpoint"
        raise ConfigurationError(f"{{{odd}}} {told}; give each placeholder of the endpoint a value, and no other.")
    for name, value in parameters.items():
        if str(value) == "":
            raise ConfigurationError(f"path_parameters.{name} is empty, so the request would go to another path; give a value.")
        check_texts(f"path_parameters.{name}", [plain(value)])
    path = _PLACEHOLDER.sub(lambda found: quote(plain(parameters[found[1]]), safe=""), endpoint)
    try:
        check_path(path)
    except RemoteCallError as error:
        raise ConfigurationError(str(error)) from None
    return path


def check_body(method: str, json: Any, data: Any) -> None:
    """
    Look at what a request carries.

    :raises ConfigurationError: two bodies, or one that its method has no place for.
    """
    given = [name for name, value in (("json", json), ("data", data)) if value is not None]
    if len(given) > 1:
        raise ConfigurationError("give json or data, not both; a request has one body.")
    if given and method.upper() in _BODYLESS:
        raise ConfigurationError(f"{given[0]}: a {method} request has no body; write query_parameters, or another method.")

    if json is not None:
        try:
            json_format.dumps(json, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"json cannot be written as JSON ({sentence(error)}); give a text for it.") from None


def check_texts(where: str, texts: Iterable[str]) -> None:
    """
    Look at texts that become octets.

    :raises ConfigurationError: one cannot.
    """
    for text in texts:
        try:
            str(text).encode()
        except UnicodeEncodeError:
            raise ConfigurationError(
                f"{where} has half of a character (a lone surrogate), which cannot be sent: {quoted(text)}. Correct where it "
                "comes from."
            ) from None


def check_kept(keep: bool, longest: int) -> None:
    """
    Look at how much of an answer is to be kept.

    :raises ConfigurationError: more than XCom is made for.
    """
    if keep and longest > MOST_KEPT:
        raise ConfigurationError(
            f"max_answer_bytes: an answer that is kept has at most {MOST_KEPT} bytes; leave keep_answer out."
        )


def plain(value: Any) -> str:
    """Return a value as it stands in an address: as JSON has it, and a text as it is."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """
    What is asked for.

    :param endpoint: path behind the address of the connection.
    :param json: body as JSON; None for none.
    :param data: body as it is, or fields of a form; None for none.
    :param seconds: the whole call, from the look-up of the name to the last byte.
    :param longest: bytes of the answer, after decompression.
    """

    http_conn_id: str
    method: str
    endpoint: str
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    data: bytes | Mapping[str, str] | None = None
    seconds: float
    longest: int

    def __str__(self) -> str:
        return f"{self.method} /{self.endpoint.lstrip('/')} of the connection {self.http_conn_id}"


def send(request: HttpRequest) -> HttpAnswer:
    """
    Send a request, once, and read the answer, whatever its status. No redirect is followed.

    :raises ConfigurationError: the connection cannot be used.
    :raises RemoteCallError: there was no answer, or a longer one than allowed.
    """
    check_package()
    import requests
    from airflow.providers.http.hooks.http import HttpHook
    from airflow.sdk.exceptions import AirflowException
    from urllib3.exceptions import HTTPError

    from provider.hooks.bounded_session import AnswerTooLongError, BoundedAdapter

    adapter = BoundedAdapter(request.longest, request.seconds, private=False)
    hook: Any = HttpHook(method=request.method, http_conn_id=request.http_conn_id, adapter=adapter, tcp_keep_alive=False)
    # Here and not in the thread: a task asks its supervisor for the connection, one question at a time.
    connection = hook.get_connection(request.http_conn_id)
    hook.get_connection = lambda _conn_id: connection
    secrets = secrets_of(connection)
    for secret in secrets.texts:
        mask(secret)
    check_connection(request.http_conn_id, connection)
    _silence()
    try:
        answer, content = within(request.seconds, lambda: _exchange(hook, adapter, request), _THREAD)
    except (TimeoutError, requests.Timeout):
        adapter.break_off()
        why = f"there was no whole answer within {request.seconds:g} s"
        raise _unanswered(request, why, sent=adapter.reached) from None
    except AnswerTooLongError:
        told = f"{request} answered with more than {request.longest} bytes. Raise max_answer_bytes, or ask for less."
        raise RemoteCallError(told, retryable=False, maybe_done=True) from None
    # Those of requests are OSError or ValueError; some of urllib3's come through it, and the hook has its own.
    except (OSError, ValueError, AirflowException, HTTPError) as error:
        why = f"{type(error).__name__}: {sentence(secrets.out_of(str(_innermost(error))))}"
        if isinstance(error, ValueError) and not adapter.reached:
            raise ConfigurationError(f"The connection {request.http_conn_id} makes no request ({why}); correct it.") from None
        unread = isinstance(error, (ValueError, requests.exceptions.ContentDecodingError))
        raise _unanswered(request, why, sent=adapter.reached, unread=unread) from None
    return read(answer, content, secrets)


def _silence() -> None:
    for name in _TELLTALES:
        logging.getLogger(name).addFilter(_tells_nothing)  # which is there once, however often it is added


def _tells_nothing(record: logging.LogRecord) -> bool:
    return record.threadName != _THREAD


def _exchange(hook: Any, adapter: BoundedAdapter, request: HttpRequest) -> tuple[requests.Response, bytes]:
    from requests.exceptions import ChunkedEncodingError, ContentDecodingError

    def once(session: requests.Session, prepared: requests.PreparedRequest, _options: Any) -> requests.Response:
        # Neither the hook's own, which logs the address with its query, nor the session's, which looks where a redirect leads.
        settings: Any = session.merge_environment_settings(
            prepared.url or "", session.proxies, stream=True, verify=session.verify, cert=session.cert
        )
        if isinstance(cert := settings.pop("cert"), list):  # of JSON
            cert = tuple(cert)
        return adapter.send(prepared, cert=cert, **settings)

    hook.run_and_check = once
    content: dict[str, Any] = {"json": request.json}
    if request.method == "GET":  # of which the hook takes the data for the query
        data: Any = request.query
    else:
        data, content["params"] = request.data, {**request.query}
    answer: requests.Response = hook.run(request.endpoint, data, dict(request.headers), {}, **content)
    try:
        return answer, answer.content
    except (ChunkedEncodingError, ContentDecodingError):
        if not answer.is_redirect:  # of which everybody reads the address alone
            raise
        return answer, b""


def _innermost(error: Exception) -> object:
    """Return the reason for which a connection failed; the errors around it tell the whole address, with its query."""
    around = error.args[0] if error.args else error
    return getattr(around, "reason", None) or around


def _unanswered(request: HttpRequest, why: str, *, sent: bool, unread: bool = False) -> RemoteCallError:
    unclear = sent and request.method not in _SAFE
    told = f"was answered with what cannot be read: {why}" if unread else f"was not answered: {why}"
    done = " It may have been carried out all the same." if unclear else ""
    return RemoteCallError(f"{request} {told}.{done}", maybe_done=unclear)
