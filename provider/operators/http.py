"""Operator that sends a request to an HTTP service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from provider.exceptions import ConfigurationError
from provider.hooks.http_request import HttpRequest, check_body, check_headers, check_kept, check_texts, filled, plain, send
from provider.hooks.remote_job import RemoteCallError
from provider.texts import one_line, sentence

if TYPE_CHECKING:
    from airflow.sdk import Context

    from provider.hooks.http_answer import HttpAnswer

__all__ = ["HttpRequestOperator"]

#: So much of an answer is told in an error, in characters.
_TOLD = 1000


class HttpRequestOperator(BaseOperator):
    """
    Sends a request to an HTTP service, and fails unless its answer has a status that is expected.

    The HTTP provider's ``HttpOperator`` stands on the same connection and hook. It waits without an end, follows redirects with
    the headers of the connection, reads and keeps an answer of any length, and its error is a number while the whole answer goes
    into the log. Here the call as a whole ends after *response_timeout*, no redirect is followed, the answer is bounded and kept
    only where that is asked for, what is secret in the connection is taken out of it, and the error says what the service
    answered. A value of the path is one part of it, whatever it holds.

    Nothing is repeated but by the task's retries.

    Returns ``{"status": 200}``; with *keep_answer* also ``"body"``: what JSON says, any other answer as text.

    :param endpoint: path behind the address of the connection, with placeholders such as ``orders/{order}``.
    :param path_parameters: values of the placeholders. (templated)
    :param query_parameters: what stands behind ``?``; of a list its name is repeated. (templated)
    :param method: method of HTTP.
    :param headers: besides those of the connection. What is secret belongs there. (templated)
    :param json: body, as JSON. (templated)
    :param data: body: a text as it is, an object as fields of a form. (templated)
    :param http_conn_id: connection of the type HTTP. (templated)
    :param expected_status: statuses that are a success; those from 200 to 299 without any.
    :param response_timeout: seconds for the whole call.
    :param max_answer_bytes: the longest answer, after decompression.
    :param keep_answer: keep the answer in XCom.
    :raises AirflowFailException: the request or its connection cannot be right.
    :raises RemoteCallError: another status, another answer than it says, a longer one, or none.

    .. seealso:: https://airflow.apache.org/docs/apache-airflow-providers-http/stable/connections/http.html
    """

    ui_color = "#f4a460"
    template_fields: Sequence[str] = ("path_parameters", "query_parameters", "headers", "json", "data", "http_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"headers": "json", "json": "json"}

    def __init__(
        self,
        *,
        endpoint: str,
        path_parameters: Mapping[str, Any] | None = None,
        query_parameters: Mapping[str, Any] | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        data: str | Mapping[str, str] | None = None,
        http_conn_id: str = "http_default",
        expected_status: Sequence[int] | None = None,
        response_timeout: float = 60.0,
        max_answer_bytes: int = 2**20,
        keep_answer: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.path_parameters = path_parameters
        self.query_parameters = query_parameters
        self.method = method
        self.headers = headers
        self.json = json
        self.data = data
        self.http_conn_id = http_conn_id
        self.expected_status = expected_status
        self.response_timeout = response_timeout
        self.max_answer_bytes = max_answer_bytes
        self.keep_answer = keep_answer

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - of Airflow
        """Send the request, and look at what is answered."""
        try:
            request = self._request()
            answer = send(request)
        except ConfigurationError as error:
            raise AirflowFailException(str(error)) from error
        self.log.info("%s answered %d %s.", request, answer.status, answer.reason)
        if not self._is_expected(answer.status):
            raise RemoteCallError(f"{request} answered {self._told(answer)}.", status_code=answer.status)
        if not self.keep_answer:
            return {"status": answer.status}
        try:
            return {"status": answer.status, "body": answer.body()}
        except ValueError as error:
            said = sentence(answer.said, _TOLD)
            raise RemoteCallError(
                f"{request} answered {answer.status} with what is not the JSON that it says it is ({one_line(error)}): {said}.",
                maybe_done=True,
                status_code=answer.status,
            ) from None

    def _request(self) -> HttpRequest:
        check_headers(self.headers or {})
        check_body(self.method, self.json, self.data)
        check_kept(self.keep_answer, self.max_answer_bytes)
        query = {name: _listed(value) for name, value in (self.query_parameters or {}).items() if value is not None}
        check_texts("query_parameters", _texts_of(query))
        data = {name: plain(value) for name, value in self.data.items()} if isinstance(self.data, Mapping) else self.data
        check_texts("data", _texts_of(data) if isinstance(data, dict) else [str(data or "")])
        return HttpRequest(
            http_conn_id=self.http_conn_id,
            method=self.method,
            endpoint=filled(self.endpoint, self.path_parameters or {}),
            query=query,
            headers=self.headers or {},
            json=self.json,
            data=data if data is None or isinstance(data, dict) else str(data).encode(),
            seconds=self.response_timeout,
            longest=self.max_answer_bytes,
        )

    def _is_expected(self, status: int) -> bool:
        return status in self.expected_status if self.expected_status else 200 <= status < 300

    def _told(self, answer: HttpAnswer) -> str:
        """Return status and reason, what the service says, and what it would have us do."""
        parts = [f"{answer.status} {answer.reason}".strip()]
        if answer.location:
            parts.append(f"leads to {answer.location}, where nothing was sent")
        if answer.retry_after:
            parts.append(f"asks to wait (Retry-After: {answer.retry_after})")
        said = sentence(answer.said, _TOLD)
        wanted = ", ".join(map(str, self.expected_status or ())) or "200 to 299"
        return f"{', '.join(parts)}, and {wanted} is expected: {said or 'it says nothing else'}"


def _listed(value: Any) -> Any:
    return [plain(one) for one in value] if isinstance(value, list | tuple) else plain(value)


def _texts_of(query: Mapping[str, Any]) -> Iterator[str]:
    for name, value in query.items():
        yield from (name, *([value] if isinstance(value, str) else value))
