"""
One request over an Airflow connection to an HTTP service: bounded in time and size, with an answer that has no secret in it.

The HTTP provider's ``HttpHook`` says what a connection means. What it leaves open is decided here: it waits for ever, follows
redirects with the headers of the connection, reads whatever comes, and writes the whole answer of an error into the log.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from provider.airflow_internals.secrets import mask
from provider.exceptions import ConfigurationError
from provider.hooks.http_connection import check_address, secrets_of, without
from provider.hooks.paths import check_path
from provider.hooks.remote_job import RemoteCallError
from provider.plain_data import parse_json, unstorable
from provider.texts import quoted, sentence, storable
from provider.threads import within

if TYPE_CHECKING:
    import requests

#: Methods whose requests have no body.
_BODYLESS = frozenset({"GET", "HEAD"})
#: Methods that change nothing at the service: a request without an answer has done nothing.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: The longest answer that is kept, in bytes: XCom is a table of Airflow's database.
MOST_KEPT = 2**20
#: How deep a JSON answer may be nested that is kept.
_DEEPEST = 40

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
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
        if not _TOKEN.fullmatch(name):
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
    if names != parameters.keys():
        odd = sorted(names ^ parameters.keys())[0]
        told = "has no value in path_parameters" if odd in names else "is in path_parameters, and not in endpoint"
        raise ConfigurationError(f"{{{odd}}} {told}; give each placeholder of the endpoint a value, and no other.")
    for name, value in parameters.items():
        if str(value) == "":
            raise ConfigurationError(f"path_parameters.{name} is empty, so the request would go to another path; give a value.")
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


@dataclass(frozen=True, kw_only=True)
class HttpAnswer:
    """
    What came.

    :param text: the body, without what is secret in the connection.
    :param secrets: what that is; not for anybody's eyes.
    """

    status: int
    reason: str
    content_type: str
    text: str
    location: str
    retry_after: str
    secrets: Sequence[str] = field(repr=False)

    @property
    def is_json(self) -> bool:
        """Whether it says that it is JSON."""
        kind = self.content_type.partition(";")[0].strip().lower()
        return kind == "application/json" or kind.endswith("+json")

    def body(self) -> Any:
        """
        Return what it says, for XCom: JSON as such, everything else as text, nothing as None.

        :raises ValueError: it says that it is JSON, and is none, or none that can be stored.
        """
        if not self.text:
            return None
        if not self.is_json:
            return storable(self.text, MOST_KEPT)
        try:
            found = parse_json(self.text)
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        if flaw := next(unstorable(found, max_depth=_DEEPEST), None):
            raise ValueError(f"it has something at {quoted(flaw.path)} that cannot be stored ({flaw.flaw.name})")
        return without(found, self.secrets)


def send(request: HttpRequest) -> HttpAnswer:
    """
    Send a request, once, and read the answer, whatever its status. No redirect is followed.

    :raises ConfigurationError: the connection cannot be used.
    :raises RemoteCallError: there was no answer, or a longer one than allowed.
    """
    check_package()
    import requests
    from airflow.providers.http.hooks.http import HttpHook

    from provider.hooks.bounded_session import AnswerTooLongError, BoundedAdapter

    adapter = BoundedAdapter(request.longest, request.seconds, private=False)
    hook: Any = HttpHook(method=request.method, http_conn_id=request.http_conn_id, adapter=adapter, tcp_keep_alive=False)
    # Here and not in the thread: a task asks its supervisor for the connection, one question at a time.
    connection = hook.get_connection(request.http_conn_id)
    hook.get_connection = lambda _conn_id: connection
    secrets = secrets_of(connection)
    for secret in secrets:
        mask(secret)
    check_address(request.http_conn_id, connection, secrets)
    try:
        answer = within(request.seconds, lambda: _exchange(hook, request), "accelerator-http")
    except (TimeoutError, requests.Timeout):
        adapter.break_off()
        raise _unanswered(request, f"there was no whole answer within {request.seconds:g} s") from None
    except AnswerTooLongError:
        told = f"{request} answered with more than {request.longest} bytes. Raise max_answer_bytes, or ask for less."
        raise RemoteCallError(told, retryable=False, maybe_done=True) from None
    except (OSError, ValueError) as error:  # all of those of requests are one or the other
        inner = _innermost(error)
        why = f"{type(error).__name__}: {without(sentence(inner), secrets)}"
        raise _unanswered(request, why, unsent=_is_unsent(error, inner)) from None
    return _read(answer, secrets)


def _exchange(hook: Any, request: HttpRequest) -> requests.Response:
    options = {"check_response": False, "allow_redirects": False, "stream": False, "timeout": request.seconds}
    content: dict[str, Any] = {"json": request.json}
    if request.method == "GET":  # of which the hook takes the data for the query
        data: Any = request.query
    else:
        data, content["params"] = request.data, {**request.query}
    answer: requests.Response = hook.run(request.endpoint, data, dict(request.headers), options, **content)
    return answer


def _read(answer: requests.Response, secrets: Sequence[str]) -> HttpAnswer:
    charset = answer.encoding if "charset" in answer.headers.get("Content-Type", "") else None
    try:
        text = answer.content.decode(charset or "utf-8", "replace")
    except LookupError:  # an encoding that Python does not know
        text = answer.content.decode("utf-8", "replace")
    return HttpAnswer(
        status=answer.status_code,
        reason=sentence(answer.reason or _usual_reason(answer.status_code), 80),
        content_type=answer.headers.get("Content-Type", ""),
        # JSON writes some characters in two ways: what is kept of it is looked at once more when it is read.
        text=without(text, secrets),
        location=without(answer.headers.get("Location", ""), secrets),
        retry_after=answer.headers.get("Retry-After", ""),
        secrets=secrets,
    )


def _usual_reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _innermost(error: Exception) -> object:
    """Return the reason for which a connection failed; the errors around it tell the whole address, with its query."""
    around = error.args[0] if error.args else error
    return getattr(around, "reason", None) or around


def _is_unsent(error: Exception, inner: object) -> bool:
    """Tell whether nothing of a request has left: it could not be made, or there was no connection."""
    # Errors of urllib3, which is an affair of requests; the names of them are not.
    names = {kind.__name__ for kind in type(inner).__mro__}
    return isinstance(error, ValueError) or not names.isdisjoint(("ConnectTimeoutError", "NewConnectionError"))


def _unanswered(request: HttpRequest, why: str, *, unsent: bool = False) -> RemoteCallError:
    unclear = request.method not in _SAFE and not unsent
    done = " It may have been carried out all the same." if unclear else ""
    return RemoteCallError(f"{request} was not answered: {why}.{done}", maybe_done=unclear)
