"""No row, whatever is in it, makes validation fail."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dag_factory.validation import validate
from provider.metadata.rows import DefinitionRows
from tests.dag_factory.definitions import Rows, good_rows

_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["{{", "{{ x }}", ".."])
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=8
)
_names = st.sampled_from(["daily_sales", "calendar", "x", "stg_orders", "dim_date", ""]) | _scalars


@st.composite
def hostile_rows(draw: st.DrawFn) -> Rows:
    """Good rows with any value put in any place, and rows of nonsense."""
    rows = good_rows()
    for _ in range(draw(st.integers(1, 4))):
        table = draw(st.sampled_from([rows.workflows, rows.tasks, rows.dependencies]))
        row = draw(st.sampled_from(table))
        target = row["config"] if isinstance(row, dict) and isinstance(row.get("config"), dict) and draw(st.booleans()) else row
        if isinstance(target, dict) and target:
            target[draw(st.sampled_from(sorted(target, key=str)) | st.text(max_size=6))] = draw(_values)
        if draw(st.booleans()):
            table.append(draw(_values))
    if draw(st.booleans()):
        rows.depend(draw(_names), draw(_names))
    return rows


@pytest.mark.slow
@settings(max_examples=200)
@given(hostile_rows())
def test_no_row_makes_validation_fail(rows: Rows) -> None:
    validated = validate(DefinitionRows(rows.workflows, rows.tasks, rows.dependencies))

    for problem in validated.problems:
        assert "\n" not in str(problem)
        assert len(str(problem)) < 2000
    for word in ("pydantic", "ValidationError", "Input should"):
        assert not any(word in str(problem) for problem in validated.problems)
    assert not set(validated.workflows) & {problem.workflow_id for problem in validated.problems}
