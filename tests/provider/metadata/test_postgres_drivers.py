"""What differs between the two drivers of PostgreSQL must not differ here."""

from __future__ import annotations

import pytest
import sqlalchemy
from sqlalchemy import text

from provider.metadata.engine import create_engine


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_text_with_nul_is_refused_as_by_the_server(driver: str, postgres_url: str) -> None:
    engine = create_engine(postgres_url.replace("+psycopg2", f"+{driver}"))
    try:
        with engine.connect() as connection:
            with pytest.raises(sqlalchemy.exc.DataError) as refused:
                connection.execute(text("SELECT CAST(:value AS TEXT)"), {"value": "geheim\x00"})
            connection.rollback()
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
    finally:
        engine.dispose()
    assert "geheim" not in str(refused.value)
