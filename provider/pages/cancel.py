"""Route of the plan that is shown before a batch is cancelled; Airflow itself is asked to do it, by whoever looks."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from provider.cancel import cancel_body, read_cancel_plan
from provider.exceptions import AcceleratorError
from provider.metadata.engine import read_session
from provider.pages.access import Asking
from provider.pages.answers import answer
from provider.pages.batches import Text, visible_batch

router = APIRouter(prefix="/api")


@router.get("/cancel")
def show_plan(person: Asking, dag_id: Text, run_id: Text) -> Response:
    """Return a :class:`~provider.cancel.CancelPlan` and the ``body`` for Airflow; 409 where the batch has ended."""
    with read_session() as session:
        batch = visible_batch(session, person, dag_id, run_id)
        try:
            plan = read_cancel_plan(session, batch)
        except AcceleratorError as error:
            raise HTTPException(409, str(error)) from error
    return answer({**asdict(plan), "body": cancel_body(f"{person.name} on the page of the batch")})
