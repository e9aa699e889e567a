# ruff: noqa: TID253 - a subclass of the Google provider's hook; only tasks and triggers of BigQuery jobs import it
"""Hook that runs BigQuery jobs by their name: start one, look one up, tell its status, cancel it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Annotated, Any, ClassVar, TypedDict

import requests
from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
from google.api_core.exceptions import Conflict, GoogleAPICallError, NotFound, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud.bigquery import Client
from google.cloud.bigquery.retry import DEFAULT_RETRY
from pydantic import Field

from provider.airflow_internals import google
from provider.exceptions import RemoteJobError
from provider.hooks.addresses import check_private
from provider.hooks.bigquery_answers import Job, JobError, read_job
from provider.hooks.bounded_session import BoundedAdapter
from provider.hooks.google_errors import no_token
from provider.hooks.google_service import GoogleService
from provider.hooks.paths import PathPart, path
from provider.hooks.remote_job import Intent, JobNotFoundError, JobStatus, RemoteCallError, RemoteJob
from provider.hooks.remote_service import ForeignHandle
from provider.texts import one_line, sentence
from provider.threads import within

__all__ = ["BigQueryJobHook"]

#: How many reasons of an error are told.
_REASONS = 5
#: Jobs of one chain of tries.
MOST_JOBS = 1000

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
#: A table of a project that belongs to a domain: ``example.com:project.dataset.table``.
_DOMAIN_TABLE = re.compile(r"([^:\s]+\.[^:\s]+:[^.:\s]+)[.:]([^.:\s]+)\.([^.:\s]+)")


class BigQueryJobRequest(TypedDict):
    """
    What a job is asked for with.

    :param job_name: the first part of the job's id: the same in every try of a chain.
    :param configuration: the job's configuration, as the API has it.
    :param project_id: project that runs the job; None for the connection's.
    :param location: location of the job; None where BigQuery is to choose.
    """

    job_name: str
    configuration: Mapping[str, Any]
    project_id: str | None
    location: str | None


class BigQueryJobIntent(ForeignHandle):
    """What names a job, see :meth:`BigQueryJobHook.prepare`."""

    project_id: PathPart
    location: PathPart | None
    job_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,1024}$")]


class BigQueryJobHandle(BigQueryJobIntent):
    """Handle of a job, see :attr:`~provider.hooks.bigquery_answers.Job.handle`."""

    id: str
    url: str = ""


class BigQueryJobHook(GoogleService[BigQueryJobRequest], BigQueryHook):
    """
    The Google provider's hook as the remote service ``bigquery``. Its client is synchronous, so a trigger's calls are threads.

    BigQuery runs a job's id once, so that a start is safe to repeat: the ids of a task's jobs are made of its
    ``job_name`` and a number that goes up only past a job that failed.

    A job's handle is ``{"id": "project:location.job_id", "url", "project_id", "location", "job_id"}``; an intent has the last
    three of these.

    Parameters: see :class:`~provider.hooks.google_service.GoogleService`, and those of
    :class:`airflow.providers.google.cloud.hooks.bigquery.BigQueryHook`.

    .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs
    """

    name: ClassVar[str] = "bigquery"
    noun: ClassVar[str] = "BigQuery job"
    job_model: ClassVar[type[ForeignHandle]] = BigQueryJobHandle
    intent_model: ClassVar[type[ForeignHandle]] = BigQueryJobIntent

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, use_legacy_sql=False, **kwargs)
        self._client_of = lru_cache(self.get_client)

    def split_tablename(self, table_input: str, default_project_id: str, var_name: str | None = None) -> tuple[str, str, str]:
        """Return project, dataset and table of a table's name, also where the project belongs to a domain."""
        if match := _DOMAIN_TABLE.fullmatch(table_input):
            project, dataset, table = match.groups()
            return project, dataset, table
        found: tuple[str, str, str] = super().split_tablename(table_input, default_project_id, var_name)
        return found

    def prepare(self, request: BigQueryJobRequest) -> Intent:
        """Return the name of the first job of this chain that has not failed: a new one, or one without a record."""
        place = {
            "project_id": request["project_id"] or self.project_id,
            "location": request["location"] or self.location,
        }
        for number in range(1, MOST_JOBS + 1):
            intent: Intent = {**place, "job_id": f"{request['job_name']}_{number}"}
            try:
                status = self.status(intent)
            except JobNotFoundError:
                return intent
            if status.state != "failed":
                return intent
        raise RemoteJobError(f"{MOST_JOBS} jobs of this task have failed without a clear; see them in BigQuery.", retryable=False)

    def start(self, request: BigQueryJobRequest, intent: Intent) -> RemoteJob:
        """Insert the job; one that has the name already is this task's own."""
        asked = f"Start of BigQuery job {intent['job_id']}"
        path(intent["project_id"], intent["job_id"])  # raises where one of them is no id
        with translated(asked, changes=True):
            try:
                job = self._in_time(
                    partial(
                        self.insert_job,
                        configuration=dict(request["configuration"]),
                        job_id=intent["job_id"],
                        project_id=intent["project_id"],
                        location=intent["location"],
                        nowait=True,
                    )
                )
            except Conflict as conflict:
                error = conflict
            else:
                return read_job(google.job_resource(job), asked, changes=True).handle
        if (found := self.find(intent)) is None:
            raise RemoteJobError(
                f"BigQuery has a job {intent['job_id']} and does not show it in location {intent['location']}: set `location` "
                "to that of the dataset, and clear the task."
            ) from error
        self.log.info("An earlier try started %s %s.", self.noun, found["id"])
        return found

    def find(self, intent: Intent) -> RemoteJob | None:
        """
        Return the job that has the name in *intent*; None where there is none.

        :raises RemoteCallError: BigQuery did not answer, or refused to.
        """
        try:
            return self._job(intent).handle
        except JobNotFoundError:
            return None

    def status(self, job: RemoteJob) -> JobStatus:
        """
        Ask for the status of a job, by its handle or its intent.

        :raises JobNotFoundError: there is no such job.
        :raises RemoteCallError: BigQuery did not answer, or refused to.
        """
        return _status(self._job(job))

    def cancel(self, job: RemoteJob) -> None:
        """
        Ask for the cancel of a job; one that has ended stays as it is.

        :raises RemoteCallError: BigQuery did not answer, or refused to.

        .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/cancel
        """
        with translated(f"Cancel of BigQuery job {job['job_id']}", of_job=True):
            call = partial(self._client(job).cancel_job, job["job_id"], retry=self._retry, timeout=self.budget.call)
            self._in_time(call)

    def first_row(self, job: RemoteJob) -> dict[str, Any] | None:
        """
        Return the first row of the result of a query job that has succeeded, by column; None where there is none.

        :raises JobNotFoundError: there is no such job (any more).
        :raises RemoteCallError: BigQuery did not answer, or refused to.

        .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults
        """
        with translated(f"Result of BigQuery job {job['job_id']}", of_job=True):
            return self._in_time(lambda: self._first_row(job))  # type: ignore[no-any-return]

    def _first_row(self, job: RemoteJob) -> dict[str, Any] | None:
        bounds: dict[str, Any] = {"retry": self._retry, "timeout": self.budget.call}
        found: Any = self._client(job).get_job(job["job_id"], **bounds)
        # The client asks for the rows of whatever job the answer names, and waits for one that has not ended.
        if (found.project, found.job_id, found.state) != (job["project_id"], job["job_id"], "DONE"):
            raise RemoteCallError(
                f"BigQuery answered the question for job {job['job_id']} with another job, or an earlier state."
            )
        rows = found.result(max_results=1, **bounds)
        return next((dict(row.items()) for row in rows), None)

    def _job(self, place: Mapping[str, Any]) -> Job:
        asked = f"BigQuery job {place['job_id']}"
        with translated(asked, of_job=True):
            call = partial(self._client(place).get_job, place["job_id"], retry=self._retry, timeout=self.budget.call)
            return read_job(google.job_resource(self._in_time(call)), asked)

    def get_client(self, *args: Any, **kwargs: Any) -> Client:
        """
        Return the vendor's client, with bounded answers.

        :raises ConfigurationError: its address would be sent tokens in clear.
        """
        client = super().get_client(*args, **kwargs)
        check_private(google.bound_client(client, BoundedAdapter(self.budget.body)), "BIGQUERY_EMULATOR_HOST")
        return client

    def _in_time(self, call: Callable[[], Any]) -> Any:
        """Bound a call as a whole: the client's timeouts begin anew with each byte, and its retries after them."""
        return within(2 * self.budget.call, call, "accelerator-bigquery")

    def _client(self, place: Mapping[str, Any]) -> Client:
        path(place["project_id"], place["job_id"])  # the client quotes neither
        return self._client_of(place["project_id"], place["location"])

    @property
    def _retry(self) -> Any:
        return DEFAULT_RETRY.with_timeout(self.budget.call)


def _status(job: Job) -> JobStatus:
    if job.status.state != "DONE":
        return JobStatus("running", one_line(job.status.state, 100))
    error = job.status.error_result
    if error is None:
        return JobStatus("done", "DONE", result=job.result)
    reason = error.reason or "unknown"
    return JobStatus("failed", reason, _failure(job, error), retryable=reason not in _FOR_GOOD, result=job.result)


def _failure(job: Job, error: JobError) -> str:
    """Say in one line why a job failed: its error, and of the others the first two."""
    messages = [found.message for found in (error, *job.status.errors) if found.message]
    text = "; ".join(sentence(message) for message in list(dict.fromkeys(messages))[:3])
    reason = error.reason or "unknown"
    return f"BigQuery job {job.handle['id']} failed: {reason}: {text}. {_HINTS.get(reason, '')}".rstrip()


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
            raise JobNotFoundError(f"{request} is not known to BigQuery (any more): {sentence(error.message)}.") from error
        raise _call_error(request, error, changes=changes) from error
    except GoogleAPICallError as error:
        raise _call_error(request, error, changes=changes) from error
    except (RetryError, requests.RequestException, TimeoutError) as error:
        # The client repeats what passes by itself; this is what was left at the end of its time.
        cause = getattr(error, "cause", None) or error
        raise RemoteCallError(f"{request}: no answer: {type(cause).__name__}: {sentence(cause)}.", maybe_done=changes) from error
    except GoogleAuthError as error:
        raise no_token(request, error) from error
    except (AttributeError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
        # The client checks no answer's types.
        raise RemoteCallError(f"{request}: the answer is unreadable ({type(error).__name__}).", maybe_done=changes) from error


def _call_error(request: str, error: GoogleAPICallError, *, changes: bool) -> RemoteCallError:
    code = int(error.code) if error.code is not None else None
    try:
        details = error.errors
    except TypeError:  # it makes a list of whatever the service sent
        details = []
    reasons = [
        one_line(detail["reason"], 100) for detail in details[:_REASONS] if isinstance(detail, dict) and detail.get("reason")
    ]
    passing = code in _PASSING_CODES or bool(_PASSING_REASONS.intersection(reasons))
    hint = next((f" {_HINTS[reason]}" for reason in reasons if reason in _HINTS), "")
    return RemoteCallError(
        f"{request} answered {code} {', '.join(reasons)}: {sentence(error.message)}.{hint}",
        retryable=passing,
        maybe_done=changes and passing,
        status_code=code,
    )
