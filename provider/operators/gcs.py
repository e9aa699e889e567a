# ruff: noqa: TID253 - they stand on the Google provider; only a task of their kind imports it
"""Operators that move, copy and delete objects of Cloud Storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.google.cloud.transfers.gcs_to_gcs import GCSToGCSOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from provider.airflow_internals import google
from provider.exceptions import ConfigurationError
from provider.hooks.paths import is_part
from provider.texts import quoted

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["GCSArchiveOperator", "GCSCopyOperator", "GCSDeleteOperator"]

#: Under this name the task state store has the chain of tries that found something to do.
_STATE_KEY = "gcs_objects"


class _TransferOperator(GCSToGCSOperator):
    """
    Base of what brings one object, or all objects of a folder, to another place in Cloud Storage.

    Unlike the Google provider's operator it takes a missing source for an error, keeps the folders below the source as they
    are however many objects there are, and refuses a destination that is the source itself or in it, or would take the place of
    what else is in the source.

    Returns the addresses of the objects in their new place, ``gs://bucket/object``.

    :param source_bucket: bucket of the objects. (templated)
    :param source_object: full name of one object. (templated)
    :param source_prefix: folder, ending in ``/``, instead of ``source_object``. (templated)
    :param destination_bucket: default: ``source_bucket``. (templated)
    :param destination_object: name of the object in its new place. (templated)
    :param destination_prefix: new folder, for ``source_prefix``. (templated)
    :param match_glob: only objects of ``source_prefix`` whose full name matches. (templated)
    :param allow_missing: succeed where there is nothing there.
    :param gcp_conn_id: connection to Google Cloud. (templated)
    :param impersonation_chain: service account to act as, or a chain of them. (templated)
    :raises ConfigurationError: source or destination is given twice or not at all.
    :raises AirflowFailException: there is nothing there, or source and destination overlap.

    .. seealso:: https://cloud.google.com/storage/docs/json_api/v1/objects/list (``matchGlob``)
    """

    #: What happens to the objects, for messages.
    verb: ClassVar[str]
    #: Whether they are deleted in their old place.
    moves: ClassVar[bool]

    template_fields: Sequence[str] = (
        "source_bucket",
        "source_object",
        "source_prefix",
        "destination_bucket",
        "destination_object",
        "destination_prefix",
        "match_glob",
        "gcp_conn_id",
        "impersonation_chain",
    )

    def __init__(
        self,
        *,
        source_bucket: str,
        source_object: str | None = None,
        source_prefix: str | None = None,
        destination_bucket: str | None = None,
        destination_object: str | None = None,
        destination_prefix: str | None = None,
        match_glob: str | None = None,
        allow_missing: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            source_bucket=source_bucket,
            source_object=source_object,
            destination_bucket=destination_bucket,
            destination_object=destination_object,
            match_glob=match_glob,
            move_object=self.moves,
            **kwargs,
        )
        self.source_prefix = source_prefix
        self.destination_prefix = destination_prefix
        self.allow_missing = allow_missing
        one, many = (source_object, destination_object), (source_prefix, destination_prefix)
        if (None in one) == (None in many) or any(value is not None for value in (one if None in one else many)):
            raise ConfigurationError(
                f"Task {self.task_id}: give source_object and destination_object, or source_prefix and destination_prefix."
            )

    def execute(self, context: Context) -> list[str]:
        """Bring what is there to its new place."""
        self.destination_bucket = self.destination_bucket or self.source_bucket
        check_buckets(self.source_bucket, self.destination_bucket)
        self._refuse_overlap()
        hook = GCSHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        sources = found(hook, self.source_bucket, self.source_object, self.source_prefix, self.match_glob)
        if not sources:
            nothing_there(context, self, self.source_bucket, self.source_object, self.source_prefix)
        self._refuse_return(sources)
        note_beginning(context)
        # Read by the OpenLineage extractor of the base class.
        self.source_objects = sources
        brought = [google.move_object(self, hook, source, self._new_name(source)) for source in sources]
        return [address for address in brought if address]

    def _new_name(self, source: str) -> str:
        if self.source_prefix is None:
            return str(self.destination_object)
        return f"{self.destination_prefix}{source.removeprefix(self.source_prefix)}"

    def _refuse_overlap(self) -> None:
        """Check rendered names: what is moved onto itself is deleted, and an archive inside its source moves again and again."""
        check_folders(source_prefix=self.source_prefix, destination_prefix=self.destination_prefix)
        if self.destination_bucket != self.source_bucket:
            return
        if self.source_prefix is None:
            overlap = self.source_object == self.destination_object
        else:
            overlap = str(self.destination_prefix).startswith(self.source_prefix)
        if overlap:
            raise AirflowFailException(
                f"the destination gs://{self.destination_bucket}/{self.destination_object or self.destination_prefix} is the "
                "source itself or in it; name another place."
            )

    def _refuse_return(self, sources: Sequence[str]) -> None:
        """Check new names: one in the source would replace what has not been brought yet, or be brought again by a retry."""
        if self.source_prefix is None or self.destination_bucket != self.source_bucket:
            return
        for source in sources:
            if (new := self._new_name(source)).startswith(self.source_prefix):
                raise AirflowFailException(
                    f"gs://{self.source_bucket}/{source} would become {new}, which is in the source {self.source_prefix} too; "
                    "nothing was touched. Rename it, or name another place."
                )


class GCSArchiveOperator(_TransferOperator):
    """
    Moves one object, or all objects of a folder, to another place in Cloud Storage.

    A retry goes on where the try before it stopped. The Google provider's operator deletes objects that are moved onto
    themselves. The rest: see :class:`_TransferOperator`.
    """

    verb: ClassVar[str] = "move"
    moves: ClassVar[bool] = True


class GCSCopyOperator(_TransferOperator):
    """
    Copies one object, or all objects of a folder, to another place in Cloud Storage.

    What is there under the new name is replaced; so a retry, which copies all of it again, changes nothing. The rest: see
    :class:`_TransferOperator`.
    """

    verb: ClassVar[str] = "copy"
    moves: ClassVar[bool] = False


class GCSDeleteOperator(BaseOperator):
    """
    Deletes one object, or all objects of a folder, of Cloud Storage; never a whole bucket.

    Unlike the Google provider's operator it takes objects that are missing for an error, and a prefix for a folder alone: ``in``
    would be ``inside.csv`` too, and an empty one everything. A retry goes on where the try before it stopped.

    Returns the addresses of the objects, ``gs://bucket/object``.

    :param bucket_name: bucket of the objects. (templated)
    :param object_name: full name of one object. (templated)
    :param prefix: folder, ending in ``/``, instead of ``object_name``. (templated)
    :param match_glob: only objects of ``prefix`` whose full name matches. (templated)
    :param allow_missing: succeed where there is nothing to delete.
    :param gcp_conn_id: connection to Google Cloud. (templated)
    :param impersonation_chain: service account to act as, or a chain of them. (templated)
    :raises ConfigurationError: both object and prefix are given, or neither, or a glob without a prefix.
    :raises AirflowFailException: there is nothing to delete, or a rendered name is none.

    .. seealso:: https://cloud.google.com/storage/docs/json_api/v1/objects/list (``matchGlob``)
    """

    ui_color = "#f0eee4"
    verb: ClassVar[str] = "delete"
    template_fields: Sequence[str] = (
        "bucket_name",
        "object_name",
        "prefix",
        "match_glob",
        "gcp_conn_id",
        "impersonation_chain",
    )

    def __init__(
        self,
        *,
        bucket_name: str,
        object_name: str | None = None,
        prefix: str | None = None,
        match_glob: str | None = None,
        allow_missing: bool = False,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket_name = bucket_name
        self.object_name = object_name
        self.prefix = prefix
        self.match_glob = match_glob
        self.allow_missing = allow_missing
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        if (object_name is None) == (prefix is None) or (match_glob is not None and prefix is None):
            raise ConfigurationError(f"Task {self.task_id}: give object_name, or prefix, and match_glob with the latter alone.")

    def execute(self, context: Context) -> list[str]:
        """Delete what is there."""
        check_buckets(self.bucket_name)
        check_folders(prefix=self.prefix)
        hook = GCSHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        names = found(hook, self.bucket_name, self.object_name, self.prefix, self.match_glob)
        if not names:
            nothing_there(context, self, self.bucket_name, self.object_name, self.prefix)
        note_beginning(context)
        for name in names:
            # Somebody else may have been faster: it is gone, as it should be.
            hook.delete(self.bucket_name, name, ignore_error=True)
        return [f"gs://{self.bucket_name}/{name}" for name in names]


def check_buckets(*buckets: str) -> None:
    """
    Refuse a rendered name that is no bucket's: Google's client quotes none, and ``#`` would cut the object off an address.

    :raises AirflowFailException: one is none.
    """
    for bucket in buckets:
        if not is_part(bucket):
            raise AirflowFailException(f"{quoted(bucket)} is not the name of a bucket; nothing was sent.")


def check_folders(**prefixes: str | None) -> None:
    """
    Refuse a rendered prefix that is no folder's: ``in`` would take ``inside.csv`` too, and ``/`` is what is left of nothing.

    :raises AirflowFailException: one is none.
    """
    for name, value in prefixes.items():
        if value is not None and not (value.endswith("/") and len(value) > 1):
            raise AirflowFailException(f"{name} is {value!r}; it must be the name of a folder, ending in '/'.")


def found(hook: GCSHook, bucket: str, name: str | None, prefix: str | None, match_glob: str | None) -> list[str]:
    """Return the names of the objects that are there: the one of this name, or those in the folder."""
    if prefix is None:
        return [name] if name and hook.exists(bucket, name) else []
    # The folder's own placeholder stays: uploads may count on the folder being there.
    return [one for one in sorted(hook.list(bucket, prefix=prefix, match_glob=match_glob)) if one != prefix]


def nothing_there(context: Context, operator: Any, bucket: str, name: str | None, prefix: str | None) -> None:
    """
    Fail, unless nothing may be there, or an earlier try of this chain (no person cleared the task since) found something.

    :raises AirflowFailException: there is nothing to do, and that is not allowed.
    """
    store: Any = context.get("task_state_store")
    began_earlier = store is not None and store.get(_STATE_KEY) == {"chain": context["ti"].max_tries}
    if not operator.allow_missing and not began_earlier:
        what = name if prefix is None else f"{prefix}{operator.match_glob or '*'}"
        raise AirflowFailException(
            f"gs://{bucket}/{what}: there is nothing to {operator.verb}. Check the name, or set allow_missing."
        )


def note_beginning(context: Context) -> None:
    """Remember for later tries of this chain that this one went on to do something, or may have nothing to do."""
    store: Any = context.get("task_state_store")
    if store is not None:
        store.set(_STATE_KEY, {"chain": context["ti"].max_tries})
