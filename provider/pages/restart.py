"""Route of the plan that is shown before a batch runs again; Airflow itself is asked to do it, by whoever looks."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from provider.metadata.batch_queries import batches_with_id, task_logs_of
from provider.metadata.engine import read_session
from provider.pages.access import Asking, found
from provider.pages.answers import answer
from provider.pages.batches import Text
from provider.restart import NothingToRestartError, plan_restart

router = APIRouter(prefix="/api")


@router.get("/restart")
def show_plan(person: Asking, dag_id: Text, run_id: Text) -> Response:
    """Return a :class:`~provider.restart.RestartPlan`; 409 where nothing has failed or is blocked."""
    with read_session() as session:
        rows = batches_with_id(session, run_id, dag_id) if person.may_see(dag_id) else []
        batch = found(rows[0] if rows else None, f"batch {run_id} of {dag_id}")
        tries = task_logs_of(session, dag_id, run_id)
    try:
        return answer(asdict(plan_restart(batch, tries)))
    except NothingToRestartError as error:
        raise HTTPException(409, str(error)) from error
