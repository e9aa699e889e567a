"""Task type ``bigquery_load``: load files from Cloud Storage into a BigQuery table."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from dag_factory.task_types import OperatorCall, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, Bucket, Labels, RemoteJobConfig, Table, Text, Texts


class BigQueryLoadConfig(RemoteJobConfig):
    """
    Configuration of a load job.

    :param bucket: bucket of the files, without ``gs://``.
    :param source_objects: objects in the bucket; one ``*`` in each stands for any text.
    :param destination_table: ``project.dataset.table`` or ``dataset.table``.
    :param schema_fields: columns, as in the API; or ``schema_object`` names a JSON file with them in ``schema_object_bucket``
        (default: ``bucket``). With neither, ``autodetect`` decides.
    :param write_disposition: what to do with rows that are there; the default ``WRITE_EMPTY`` fails where there are any.
    :param extra_config: more fields of the API's load configuration; they win over those made of the keys above.

    .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad
    """

    bucket: Templated[Bucket]
    source_objects: Templated[Texts]
    destination_table: Templated[Table]
    source_format: Literal["CSV", "NEWLINE_DELIMITED_JSON", "AVRO", "PARQUET", "ORC", "DATASTORE_BACKUP"] = "CSV"
    schema_fields: Templated[Annotated[list[dict[str, Any]], Field(min_length=1)] | None] = None
    schema_object: Templated[Text | None] = None
    schema_object_bucket: Templated[Bucket | None] = None
    autodetect: StrictBool | None = None
    create_disposition: Literal["CREATE_IF_NEEDED", "CREATE_NEVER"] | None = None
    write_disposition: Literal["WRITE_EMPTY", "WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA"] | None = None
    skip_leading_rows: Annotated[StrictInt, Field(ge=0)] | None = None
    field_delimiter: Text | None = None
    quote_character: StrictStr | None = None
    allow_quoted_newlines: StrictBool | None = None
    allow_jagged_rows: StrictBool | None = None
    encoding: Text | None = None
    max_bad_records: Annotated[StrictInt, Field(ge=0)] | None = None
    ignore_unknown_values: StrictBool | None = None
    schema_update_options: tuple[Literal["ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"], ...] | None = None
    time_partitioning: dict[str, Any] | None = None
    cluster_fields: Texts | None = None
    labels: Labels | None = None
    extra_config: Templated[dict[str, Any] | None] = None
    project_id: Text | None = None
    location: Text | None = None
    gcp_conn_id: Templated[Text | None] = None
    impersonation_chain: Templated[Texts | None] = None

    @model_validator(mode="after")
    def _schema(self) -> Self:
        if self.schema_fields is not None and self.schema_object is not None:
            raise ValueError("give schema_fields or schema_object, not both")
        if self.schema_object_bucket is not None and self.schema_object is None:
            raise ValueError("schema_object_bucket: needs schema_object")
        if self.autodetect is False and self.schema_fields is None and self.schema_object is None:
            raise ValueError("autodetect: false needs schema_fields or schema_object")
        return self


def operator(config: BigQueryLoadConfig) -> OperatorCall:
    """Return the operator of a ``bigquery_load`` task."""
    from provider.operators.bigquery import BigQueryLoadOperator

    own = operator_arguments(config)
    own["destination_project_dataset_table"] = own.pop("destination_table")
    return BigQueryLoadOperator, own


TASK_TYPE = TaskType("bigquery_load", BigQueryLoadConfig, operator, REMOTE_JOB_DEFAULTS)
