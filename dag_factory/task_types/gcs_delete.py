"""Task type ``gcs_delete``: delete objects of Cloud Storage."""

from __future__ import annotations

from typing import Self

from pydantic import StrictBool, model_validator

from dag_factory.task_types import OperatorCall, TaskConfig, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import REMOTE_JOB_DEFAULTS, Bucket, Text, Texts
from dag_factory.task_types.gcs import Folder
from provider.plain_data import exactly_one


class GcsDeleteConfig(TaskConfig):
    """
    Configuration of what is deleted: one object, or all objects of a folder.

    :param bucket: bucket of the objects, without ``gs://``.
    :param object: full name of one object.
    :param prefix: folder whose objects are deleted, those of the folders in it too.
    :param match_glob: only objects of ``prefix`` whose full name matches, such as ``**/*.csv``.
    :param allow_missing: succeed where there is nothing to delete; otherwise that is an error.
    """

    bucket: Templated[Bucket]
    object: Templated[Text | None] = None
    prefix: Templated[Folder | None] = None
    match_glob: Templated[Text | None] = None
    allow_missing: StrictBool = False
    gcp_conn_id: Templated[Text | None] = None
    impersonation_chain: Templated[Texts | None] = None

    @model_validator(mode="after")
    def _what(self) -> Self:
        if exactly_one(dict(self), ("object", "prefix")) == "object" and self.match_glob is not None:
            raise ValueError("match_glob: does not go with object")
        if self.prefix == "/":
            raise ValueError("prefix: is the name of no folder; a whole bucket is not deleted")
        return self


#: Keys whose operator parameter has the Google provider's name.
_PARAMETERS = {"bucket": "bucket_name", "object": "object_name"}


def operator(config: GcsDeleteConfig) -> OperatorCall:
    """Return the operator of a ``gcs_delete`` task."""
    from provider.operators.gcs import GCSDeleteOperator

    return GCSDeleteOperator, {_PARAMETERS.get(key, key): value for key, value in operator_arguments(config).items()}


TASK_TYPE = TaskType("gcs_delete", GcsDeleteConfig, operator, REMOTE_JOB_DEFAULTS)
