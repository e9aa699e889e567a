"""
What BigQuery says of a job, typed. The client hands out what the service sent, whatever its types.

.. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from provider.hooks.paths import PathPart
from provider.hooks.remote_job import RemoteCallError, RemoteJob
from provider.plain_data import objects_among
from provider.texts import one_line

#: Longest reason, in characters, that is taken from the service.
_REASON_LENGTH = 400
#: How many errors of a job are looked at.
_ERRORS = 10


def _text(value: Any) -> str:
    return one_line(value, _REASON_LENGTH) if isinstance(value, str) else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return objects_among(value, _ERRORS)


def _number(value: Any) -> int | None:
    """Return a 64-bit number, which is a text in JSON."""
    text = str(value) if type(value) is int else value
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19 else None


Text = Annotated[str, BeforeValidator(_text)]
Number = Annotated[int | None, BeforeValidator(_number)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class JobReference(_Answer):
    """What names a job."""

    project_id: PathPart = Field(alias="projectId")
    location: PathPart | None = None
    job_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,1024}$", alias="jobId")]


class JobError(_Answer):
    """One error of a job."""

    reason: Text = ""
    message: Text = ""


class JobState(_Answer):
    """State and errors of a job."""

    state: StrictStr
    error_result: Annotated[JobError | None, BeforeValidator(lambda value: value if isinstance(value, dict) else None)] = Field(
        default=None, alias="errorResult"
    )
    errors: Annotated[list[JobError], BeforeValidator(_objects)] = []


class TableName(_Answer):
    """A table."""

    project_id: Text = Field(default="", alias="projectId")
    dataset_id: Text = Field(default="", alias="datasetId")
    table_id: Text = Field(default="", alias="tableId")

    def __str__(self) -> str:
        return f"{self.project_id}.{self.dataset_id}.{self.table_id}"


class LoadFigures(_Answer):
    """Figures of a load job."""

    output_rows: Number = Field(default=None, alias="outputRows")
    output_bytes: Number = Field(default=None, alias="outputBytes")
    input_files: Number = Field(default=None, alias="inputFiles")
    input_file_bytes: Number = Field(default=None, alias="inputFileBytes")


class QueryFigures(_Answer):
    """Figures of a query job."""

    statement_type: Annotated[str | None, BeforeValidator(lambda value: _text(value) or None)] = Field(
        default=None, alias="statementType"
    )
    num_dml_affected_rows: Number = Field(default=None, alias="numDmlAffectedRows")
    total_bytes_processed: Number = Field(default=None, alias="totalBytesProcessed")
    total_bytes_billed: Number = Field(default=None, alias="totalBytesBilled")
    cache_hit: Annotated[StrictBool | None, BeforeValidator(lambda value: value if isinstance(value, bool) else None)] = Field(
        default=None, alias="cacheHit"
    )


class Statistics(_Answer):
    """Figures of a job, by its kind."""

    load: Annotated[LoadFigures, BeforeValidator(_object)] = LoadFigures()
    query: Annotated[QueryFigures, BeforeValidator(_object)] = QueryFigures()


class _Destination(_Answer):
    table: Annotated[TableName | None, BeforeValidator(lambda value: value if isinstance(value, dict) else None)] = Field(
        default=None, alias="destinationTable"
    )


class Configuration(_Answer):
    """What a job was asked for."""

    load: Annotated[_Destination, BeforeValidator(_object)] = _Destination()
    query: Annotated[_Destination, BeforeValidator(_object)] = _Destination()


class Job(_Answer):
    """A job of BigQuery."""

    reference: JobReference = Field(alias="jobReference")
    status: JobState
    statistics: Annotated[Statistics, BeforeValidator(_object)] = Statistics()
    configuration: Annotated[Configuration, BeforeValidator(_object)] = Configuration()

    @property
    def handle(self) -> RemoteJob:
        """The handle of the job."""
        project, location, job_id = self.reference.project_id, self.reference.location, self.reference.job_id
        place = f"bq:{location}:{job_id}"
        url = f"https://console.cloud.google.com/bigquery?project={quote(project, safe='')}&j={quote(place, safe=':')}"
        return {
            "id": f"{project}:{location}.{job_id}",
            "url": f"{url}&page=queryresults",
            "project_id": project,
            "location": location,
            "job_id": job_id,
        }

    @property
    def result(self) -> dict[str, Any]:
        """What XCom holds of the job."""
        handle, kinds = self.handle, (self.configuration.load, self.configuration.query)
        figures = self.statistics.load.model_dump(exclude_none=True) | self.statistics.query.model_dump(exclude_none=True)
        table = next(({"destination_table": str(kind.table)} for kind in kinds if kind.table is not None), {})
        return {name: handle[name] for name in ("job_id", "project_id", "location")} | table | figures


def read_job(answer: Any, request: str, *, changes: bool = False) -> Job:
    """
    Return what an answer of the service says.

    :param changes: the request starts something.
    :raises RemoteCallError: it is no job.
    """
    try:
        return Job.model_validate(answer)
    except ValidationError as error:
        where = "; ".join(".".join(str(part) for part in item["loc"]) for item in error.errors(include_input=False)[:3])
        raise RemoteCallError(f"{request}: the answer is no job ({one_line(where, 200)}).", maybe_done=changes) from error
