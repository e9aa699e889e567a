"""Task type ``gcs_archive``: move objects of Cloud Storage to another place."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, StrictBool, model_validator

from dag_factory.task_types import OperatorCall, TaskConfig, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, Bucket, Text, Texts
from dag_factory.templates import contains_template
from provider.plain_data import exactly_one


def _folder(value: str) -> str:
    if not value.endswith("/"):
        raise ValueError("must end with '/', as the name of a folder")
    return value


#: A folder of a bucket. Without ``/`` it would be the beginning of other names too.
Folder = Annotated[Text, AfterValidator(_folder)]


class GcsTransferConfig(TaskConfig):
    """
    Configuration of what brings objects to another place.

    It is either one object (``source_object`` to ``destination_object``), or all objects of a folder (``source_prefix`` to
    ``destination_prefix``), with the folders below it kept as they are.

    :param source_bucket: bucket of the objects, without ``gs://``.
    :param destination_bucket: default: ``source_bucket``.
    :param match_glob: only objects of ``source_prefix`` whose full name matches, such as ``**/*.csv``.
    :param allow_missing: succeed where there is nothing there; otherwise that is an error.
    """

    source_bucket: Templated[Bucket]
    source_object: Templated[Text | None] = None
    source_prefix: Templated[Folder | None] = None
    destination_bucket: Templated[Bucket | None] = None
    destination_object: Templated[Text | None] = None
    destination_prefix: Templated[Folder | None] = None
    match_glob: Templated[Text | None] = None
    allow_missing: StrictBool = False
    gcp_conn_id: Templated[Text | None] = None
    impersonation_chain: Templated[Texts | None] = None

    @model_validator(mode="after")
    def _places(self) -> Self:
        if exactly_one(dict(self), ("source_object", "source_prefix")) == "source_object":
            source, destination, kind = self.source_object, self.destination_object, "object"
            unused = [name for name in ("destination_prefix", "match_glob") if getattr(self, name) is not None]
        else:
            source, destination, kind = self.source_prefix, self.destination_prefix, "prefix"
            unused = ["destination_object"] if self.destination_object is not None else []
        if unused:
            raise ValueError(f"{', '.join(unused)}: does not go with source_{kind}")
        if destination is None:
            raise ValueError(f"destination_{kind}: missing")
        same_bucket = self.destination_bucket in (None, self.source_bucket)
        if same_bucket and not contains_template([source, destination]) and _overlap(source or "", destination, kind):
            raise ValueError(f"destination_{kind}: is the source itself or in it; name another place")
        return self


def _overlap(source: str, destination: str, kind: str) -> bool:
    return destination == source if kind == "object" else destination.startswith(source)


def operator(config: GcsTransferConfig) -> OperatorCall:
    """Return the operator of a ``gcs_archive`` task."""
    from provider.operators.gcs import GCSArchiveOperator

    return GCSArchiveOperator, operator_arguments(config)


TASK_TYPE = TaskType("gcs_archive", GcsTransferConfig, operator, REMOTE_JOB_DEFAULTS)
