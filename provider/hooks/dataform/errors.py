"""One kind of error for whatever a gRPC call to Google can raise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from provider.hooks.google_errors import no_token
from provider.hooks.remote_job import JobNotFoundError, RemoteCallError
from provider.texts import sentence

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError

#: gRPC statuses that pass by themselves. After all but RESOURCE_EXHAUSTED the request may have been carried out.
_PASSING = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "ABORTED", "CANCELLED"})
_HINTS = {
    "PERMISSION_DENIED": "Give the account the role Dataform Editor on the repository, and check `impersonation_chain`.",
    "UNAUTHENTICATED": "Check the credentials of the connection.",
    "NOT_FOUND": "Check project, region, repository and the source to compile.",
}
#: .. seealso:: https://cloud.google.com/dataform/docs/strict-act-as-mode
_ACT_AS_STATUSES = frozenset({"PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"})
_ACT_AS = re.compile(r"\bact[-_ ]?as\b", re.IGNORECASE)
_ACT_AS_HINT = (
    "The repository is in strict act-as mode: `service_account` must be an account of your own, not Dataform's default one, "
    "and the account of the connection needs the role Service Account User on it."
)


@contextmanager
def translated(request: str, *, changes: bool = False, of_job: bool = False) -> Iterator[None]:
    """
    Raise the client's errors as :class:`RemoteCallError`.

    :param request: what was asked for, for the message.
    :param changes: the request starts something: without an answer it may have done so.
    :param of_job: the request is about a job, so that NOT_FOUND means the job.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError
    from google.protobuf.message import Error as ProtobufError

    try:
        yield
    except GoogleAPICallError as error:
        raise _call_error(request, error, changes=changes, of_job=of_job) from error
    except GoogleAuthError as error:
        raise no_token(request, error) from error
    except (ProtobufError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
        # The details of an error are read by the client, which does not look at what they are.
        raise RemoteCallError(f"{request}: the answer is unreadable ({type(error).__name__}).", maybe_done=changes) from error


def _call_error(request: str, error: GoogleAPICallError, *, changes: bool, of_job: bool) -> RemoteCallError:
    status = error.grpc_status_code.name if error.grpc_status_code is not None else str(error.code)
    text = f"{request} answered {status}: {sentence(error.message)}."
    if status == "NOT_FOUND" and of_job:
        return JobNotFoundError(text)
    hint = _ACT_AS_HINT if status in _ACT_AS_STATUSES and _ACT_AS.search(str(error.message)) else _HINTS.get(status)
    if hint:
        text = f"{text} {hint}"
    return RemoteCallError(
        text,
        retryable=status in _PASSING or status == "RESOURCE_EXHAUSTED",
        maybe_done=changes and status in _PASSING,
        retry_after=_retry_after(error),
        status_code=int(error.code) if error.code is not None else None,
    )


def _retry_after(error: GoogleAPICallError) -> float | None:
    """Read google.rpc.RetryInfo, or the trailing metadata ``retry-after``."""
    for detail in error.details or ():
        delay = getattr(detail, "retry_delay", None)
        if delay is not None:
            return float(delay.seconds)
    for call in error.errors or ():
        trailing = getattr(call, "trailing_metadata", None)
        for key, value in (trailing() if callable(trailing) else trailing) or ():
            if key == "retry-after" and str(value).isascii() and str(value).isdigit():
                return float(value)
    return None
