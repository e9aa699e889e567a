# ruff: noqa: TID253 - a subclass of the Google provider's hook; only tasks and triggers of BigQuery jobs import it
"""Hook that follows BigQuery jobs by their name: look one up, tell its status, cancel it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import requests
from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud.bigquery import Client
from google.cloud.bigquery.job import LoadJob, QueryJob
from google.cloud.bigquery.retry import DEFAULT_RETRY

from provider.hooks.google_errors import line, no_token
from provider.hooks.remote_job import JobNotFoundError, JobStatus, RemoteCallError, RemoteJob

#: Reasons of BigQuery's table of errors that a repetition of the same job cannot get past.
#: .. seealso:: https://cloud.google.com/bigquery/docs/error-messages#errortable
_FOR_GOOD = frozenset({"accessDenied", "billingNotEnabled", "invalidQuery", "invalidUser", "notImplemented"})
_PASSING_CODES = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_REASONS = frozenset({"backendError", "internalError", "jobBackendError", "jobInternalError", "rateLimitExceeded"})
_HINTS = {
    "accessDenied": "Give the account the roles BigQuery Job User and Data Editor, and check `impersonation_chain`.",
    "notFound": "Check the names of files, dataset and table, and `location`.",
    "quotaExceeded": "See the project's quotas in the Google Cloud console.",
    "stopped": "Somebody cancelled the job.",
}
_RESULTS: dict[type, tuple[str, ...]] = {
    LoadJob: ("output_rows", "output_bytes", "input_files", "input_file_bytes"),
    QueryJob: ("statement_type", "num_dml_affected_rows", "total_bytes_processed", "total_bytes_billed", "cache_hit"),
}


class BigQueryJobHook(BigQueryHook):
    """
    The Google provider's hook with what a wait for one job needs.

    A job's handle is ``{"id": "project:location.job_id", "url", "project_id", "location", "job_id"}``; an intent has the last
    three of these.

    :param http_timeout: seconds for one call, repetitions of the client included.

    Other parameters: see :class:`airflow.providers.google.cloud.hooks.bigquery.BigQueryHook`.

    .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs
    """

    def __init__(self, *, http_timeout: float = 30.0, **kwargs: Any) -> None:
        super().__init__(use_legacy_sql=False, **kwargs)
        self.http_timeout = http_timeout
        self._client_of = lru_cache(self.get_client)

    def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        """
        Return the job that has the name in *intent*; None where there is none.

        :raises RemoteCallError: BigQuery did not answer, or refused to.
        """
        try:
            return job_handle(self._job(intent))
        except JobNotFoundError:
            return None

    def get_job_status(self, job: RemoteJob) -> JobStatus:
        """
        Ask for the status of a job, by its handle or its intent.

        :raises JobNotFoundError: there is no such job.
        :raises RemoteCallError: BigQuery did not answer, or refused to.
        """
        return _status(self._job(job))

    def cancel_by_name(self, job: RemoteJob) -> None:
        """
        Ask for the cancel of a job; one that has ended stays as it is.

        :raises RemoteCallError: BigQuery did not answer, or refused to.

        .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/cancel
        """
        with translated(f"Cancel of BigQuery job {job['job_id']}", of_job=True):
            self._client(job).cancel_job(job["job_id"], retry=self._retry, timeout=self.http_timeout)

    def _job(self, place: dict[str, Any]) -> Any:
        with translated(f"BigQuery job {place['job_id']}", of_job=True):
            return self._client(place).get_job(place["job_id"], retry=self._retry, timeout=self.http_timeout)

    def _client(self, place: dict[str, Any]) -> Client:
        return self._client_of(place["project_id"], place["location"])

    @property
    def _retry(self) -> Any:
        return DEFAULT_RETRY.with_timeout(self.http_timeout)


def job_handle(job: Any) -> RemoteJob:
    """Return the handle of a job of the client library."""
    project, location, job_id = str(job.project), job.location, str(job.job_id)
    place = f"bq:{location}:{job_id}"
    url = f"https://console.cloud.google.com/bigquery?project={quote(project, safe='')}&j={quote(place, safe=':')}"
    return {
        "id": f"{project}:{location}.{job_id}",
        "url": f"{url}&page=queryresults",
        "project_id": project,
        "location": location,
        "job_id": job_id,
    }


def _status(job: Any) -> JobStatus:
    if job.state != "DONE":
        return JobStatus("running", str(job.state))
    error = job.error_result
    if not error:
        return JobStatus("done", "DONE", result=_result(job))
    reason = str(error.get("reason") or "unknown")
    return JobStatus("failed", reason, _failure(job, reason), retryable=reason not in _FOR_GOOD, result=_result(job))


def _failure(job: Any, reason: str) -> str:
    """Say in one line why a job failed: its error, and of the others the first two."""
    messages = [str(error.get("message")) for error in (job.error_result, *(job.errors or [])) if error.get("message")]
    text = "; ".join(line(message) for message in list(dict.fromkeys(messages))[:3])
    return f"BigQuery job {job_handle(job)['id']} failed: {reason}: {text}. {_HINTS.get(reason, '')}".rstrip()


def _result(job: Any) -> dict[str, Any]:
    handle = job_handle(job)
    names = next((names for kind, names in _RESULTS.items() if isinstance(job, kind)), ())
    figures = {name: value for name in names if (value := getattr(job, name)) is not None}
    destination = getattr(job, "destination", None)
    table = {} if destination is None else {"destination_table": str(destination)}
    return {name: handle[name] for name in ("job_id", "project_id", "location")} | table | figures


@contextmanager
def translated(request: str, *, changes: bool = False, of_job: bool = False) -> Iterator[None]:
    """
    Raise the client's errors as :class:`RemoteCallError`.

    :param request: what was asked for, for the message.
    :param changes: the request starts something: without an answer it may have done so.
    :param of_job: the request is about a job, so that 404 means the job.
    """
    try:
        yield
    except NotFound as error:
        if of_job:
            raise JobNotFoundError(f"{request} is not known to BigQuery (any more): {line(error.message)}.") from error
        raise _call_error(request, error, changes=changes) from error
    except GoogleAPICallError as error:
        raise _call_error(request, error, changes=changes) from error
    except (RetryError, requests.RequestException) as error:
        # The client repeats what passes by itself; this is what was left at the end of its time.
        cause = getattr(error, "cause", None) or error
        raise RemoteCallError(f"{request}: no answer: {type(cause).__name__}: {line(cause)}.", maybe_done=changes) from error
    except GoogleAuthError as error:
        raise no_token(request, error) from error


def _call_error(request: str, error: GoogleAPICallError, *, changes: bool) -> RemoteCallError:
    code = int(error.code) if error.code is not None else None
    reasons = [str(detail["reason"]) for detail in error.errors if isinstance(detail, dict) and detail.get("reason")]
    passing = code in _PASSING_CODES or bool(_PASSING_REASONS.intersection(reasons))
    hint = next((f" {_HINTS[reason]}" for reason in reasons if reason in _HINTS), "")
    return RemoteCallError(
        f"{request} answered {code} {', '.join(reasons)}: {line(error.message)}.{hint}",
        retryable=passing,
        maybe_done=changes and passing,
        status_code=code,
    )
