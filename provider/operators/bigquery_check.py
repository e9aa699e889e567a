"""Operator that checks data by a statement in BigQuery, which runs once, however often the task is tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from provider.exceptions import ConfigurationError
from provider.operators.bigquery_query import BigQueryQueryOperator
from provider.plain_data import number_in
from provider.texts import one_line

if TYPE_CHECKING:
    from provider.hooks.remote_job import JobStatus, RemoteJob

__all__ = ["BigQueryDataCheckOperator"]

#: So much of a row is told: columns, and characters of each value.
_COLUMNS, _CHARACTERS = 20, 100


class BigQueryDataCheckOperator(BigQueryQueryOperator):
    """
    Runs a statement of GoogleSQL in BigQuery, and fails unless each value of its first row is as it should be.

    The Google provider's ``BigQueryCheckOperator`` and ``BigQueryValueCheckOperator`` run the statement anew in each try, and in
    the triggerer read the result there. Here the check is a job as all others, read in the worker. What it has found is not
    asked for again by a retry: a clear does that.

    Without *pass_value* each value has to be true: not ``FALSE``, 0, NaN, NULL, nor an empty text or array.

    :param pass_value: what each value has to be. Numbers are compared as such, also those that are texts; everything else as
        texts, a date as ISO 8601 has it. TRUE, FALSE and NULL may be written in any case, and NULL as None. (templated)
    :param tolerance: so much may a number be away from *pass_value*, as a share of it: 0.1 for a tenth.
    :raises ConfigurationError: a tolerance is given for something else than a number, or a table for the result.
    :raises AirflowFailException: the check did not pass, or has no row to look at.

    Other parameters: see :class:`~provider.operators.bigquery_query.BigQueryQueryOperator`; a check keeps no result.
    """

    job_noun: ClassVar[str] = "BigQuery check"
    template_fields: Sequence[str] = ("pass_value", "query_parameters", "gcp_conn_id", "impersonation_chain")

    def __init__(
        self, *, sql: str, pass_value: bool | int | float | str | None = None, tolerance: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(sql=sql, **kwargs)
        self.pass_value = pass_value
        self.tolerance = tolerance
        if self.destination_table is not None:
            raise ConfigurationError(f"Task {self.task_id}: a check keeps no result; leave destination_table out.")

    def make_configuration(self) -> dict[str, Any]:
        """Make the configuration from rendered parameters."""
        if self.tolerance is not None and number_in(self.pass_value) is None:
            raise ConfigurationError(f"Task {self.task_id}: tolerance needs a number as pass_value, not {self.pass_value!r}.")
        return super().make_configuration()

    def judged(self, job: RemoteJob, status: JobStatus) -> JobStatus:
        """Take a check for failed whose statement has succeeded and whose first row is not as it should be."""
        if status.state != "done":
            return status
        hook: Any = self.service
        row: Mapping[str, Any] | None = self.ask(lambda: hook.first_row(job))
        if row is None:
            error = f"{self.job_noun} {job['id']} returned no row; let the statement return the row that is looked at."
            return replace(status, state="failed", error=error, retryable=False)
        told = ", ".join(f"{column} = {_text(value)}" for column, value in list(row.items())[:_COLUMNS])
        if wrong := ", ".join(list(self._wrong(row))[:_COLUMNS]):
            error = f"{self.job_noun} {job['id']} did not pass: {wrong}. The first row is: {told}. See {job['url']}"
            return replace(status, state="failed", error=error, retryable=False)
        self.log.info("The first row is: %s", told)
        return status

    def _wrong(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Yield what a value is that should be another one."""
        about = "" if self.tolerance is None else f" (tolerance {self.tolerance})"
        for column, value in row.items():
            if self.pass_value is None:
                # What is not a number is not equal to itself.
                if not value or value != value:
                    yield f"{column} is {_text(value)}"
            elif not _is(value, self.pass_value, self.tolerance or 0.0):
                yield f"{column} is {_text(value)}, not {_text(self.pass_value)}{about}"


def _is(value: Any, wanted: Any, tolerance: float) -> bool:
    if value is None or isinstance(value, bool):
        text = _plain(wanted).lower()  # a template writes True, False and None
        return _plain(value).lower() == ("null" if text == "none" else text)
    number, found = number_in(wanted), number_in(value)
    if number is None or found is None:
        return _plain(value) == _plain(wanted)
    return abs(found - number) <= abs(number) * Decimal(str(tolerance))


def _plain(value: Any) -> str:
    """Return a value of a row as a person would write it."""
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "true", False: "false"}[value]
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def _text(value: Any) -> str:
    return one_line(_plain(value), _CHARACTERS) or "empty"
