# ruff: noqa: TID253 - a subclass of the Google provider's operator; only a task of its kind imports it
"""Operator that moves objects of Cloud Storage to an archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.google.cloud.transfers.gcs_to_gcs import GCSToGCSOperator
from airflow.sdk.exceptions import AirflowFailException

from provider.airflow_internals import google
from provider.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["GCSArchiveOperator"]

_STATE_KEY = "gcs_archive"


class GCSArchiveOperator(GCSToGCSOperator):
    """
    Moves one object, or all objects of a folder, to another place in Cloud Storage.

    Unlike the Google provider's operator it takes a missing source for an error, keeps the folders below the source as they
    are however many objects there are, and refuses to move objects onto themselves, which would delete them. A retry goes on
    where the try before it stopped.

    Returns the addresses of the objects that were moved, ``gs://bucket/object``.

    :param source_bucket: bucket of the objects. (templated)
    :param source_object: full name of one object. (templated)
    :param source_prefix: folder, ending in ``/``, instead of ``source_object``. (templated)
    :param destination_bucket: default: ``source_bucket``. (templated)
    :param destination_object: name of the object in its new place. (templated)
    :param destination_prefix: new folder, for ``source_prefix``. (templated)
    :param match_glob: only objects of ``source_prefix`` whose full name matches. (templated)
    :param allow_missing: succeed where there is nothing to move.
    :param gcp_conn_id: connection to Google Cloud. (templated)
    :param impersonation_chain: service account to act as, or a chain of them. (templated)
    :raises ConfigurationError: source or destination is given twice or not at all.
    :raises AirflowFailException: there is nothing to move, or source and destination overlap.

    .. seealso:: https://cloud.google.com/storage/docs/json_api/v1/objects/list (``matchGlob``)
    """

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
            move_object=True,
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
        """Move what is there."""
        self.destination_bucket = self.destination_bucket or self.source_bucket
        self._refuse_overlap()
        hook = GCSHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        moves = self._moves(hook)
        if not moves and not self.allow_missing and not self._began_earlier(context):
            what = self.source_object or f"{self.source_prefix}{self.match_glob or '*'}"
            raise AirflowFailException(
                f"gs://{self.source_bucket}/{what}: there is nothing to move. Check the name, or set allow_missing."
            )
        self._note_beginning(context)
        # Read by the OpenLineage extractor of the base class.
        self.source_objects = [source for source, _ in moves]
        moved = [google.move_object(self, hook, source, to) for source, to in moves]
        return [address for address in moved if address]

    def _moves(self, hook: GCSHook) -> list[tuple[str, str]]:
        """Return (object, its new name) of everything there is to move."""
        if self.source_prefix is None:
            return [(self.source_object, self.destination_object)] if hook.exists(self.source_bucket, self.source_object) else []
        names = hook.list(self.source_bucket, prefix=self.source_prefix, match_glob=self.match_glob)
        # The folder's own placeholder stays: uploads may count on the folder being there.
        return [
            (name, f"{self.destination_prefix}{name.removeprefix(self.source_prefix)}")
            for name in sorted(names)
            if name != self.source_prefix
        ]

    def _refuse_overlap(self) -> None:
        """Check rendered names: what is moved onto itself is deleted, and an archive inside its source moves again and again."""
        for name, value in (("source_prefix", self.source_prefix), ("destination_prefix", self.destination_prefix)):
            if value is not None and not (value.endswith("/") and len(value) > 1):
                raise AirflowFailException(f"{name} is {value!r}; it must be the name of a folder, ending in '/'.")
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

    @staticmethod
    def _began_earlier(context: Context) -> bool:
        """Tell whether an earlier try of this chain (no person cleared the task since) found something and moved on."""
        store = context.get("task_state_store")
        return store is not None and store.get(_STATE_KEY) == {"chain": context["ti"].max_tries}

    @staticmethod
    def _note_beginning(context: Context) -> None:
        store: Any = context.get("task_state_store")
        if store is not None:
            store.set(_STATE_KEY, {"chain": context["ti"].max_tries})
