"""A condition on a run's params and dates."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from dag_factory.templates import condition_to_airflow
from provider.operators.condition import Condition


def holds(written: str, **params: Any) -> bool:
    dag = DAG("sales", user_defined_filters={"batch_date": lambda moment: moment.date().isoformat()})
    context = {"params": params, "run_id": "B1", "dag_run": SimpleNamespace(run_after=datetime(2026, 3, 16, 5, tzinfo=UTC))}
    return Condition(condition_to_airflow(written), written).holds({**context, "dag": dag})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("params.region == 'EU'", True),
        ("params.region != 'EU'", False),
        ("params.days > 3 and not params.dry", True),
        ("params.region in ['EU', 'US'] or params.dry", True),
        ("params.empty", False),
        ("params.nothing is none", True),
        ("batch_date == '2026-03-16'", True),
        ("batch_id == 'B1' and workflow_id == 'sales'", True),
    ],
)
def test_what_holds(written: str, expected: bool) -> None:
    assert holds(written, region="EU", days=7, dry=False, empty=[], nothing=None) is expected


@pytest.mark.parametrize(
    "written", ["params.days > '3'", "params.__class__.__mro__[1].__subclasses__()", "''.format.__globals__", "params.days(1)"]
)
def test_what_makes_no_sense_or_is_no_data_fails_the_task(written: str) -> None:
    with pytest.raises(AirflowFailException, match=r"^run_if \(.*\) cannot be evaluated with the params of this run: \w+Error: "):
        holds(written, days=7)
