"""Rows as dictionaries have the columns of the tables."""

from __future__ import annotations

from typing import Any

import pytest

from provider.metadata import rows, tables
from provider.metadata.inbox_rows import NewRequest


@pytest.mark.parametrize(
    ("row", "model", "left_out"),
    [
        (rows.StoredTaskLog, tables.TaskLog, set()),
        (rows.StoredTaskBatch, tables.TaskBatch, set()),
        (rows.StoredRequest, tables.BatchRequest, {"payload"}),
    ],
)
def test_a_stored_row_has_every_column(row: Any, model: type[tables.Base], left_out: set[str]) -> None:
    assert row.__required_keys__ | row.__optional_keys__ == {column.name for column in model.__table__.columns} - left_out


@pytest.mark.parametrize("row", [rows.ClaimedRequest, NewRequest])
def test_requests_have_columns_only(row: Any) -> None:
    assert set(row.__dataclass_fields__) <= {column.name for column in tables.BatchRequest.__table__.columns}
