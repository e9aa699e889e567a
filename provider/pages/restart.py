"""Route of the plan that is shown before a batch runs again; Airflow itself is asked to do it, by whoever looks."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from provider.airflow_internals.secrets import redact
from provider.metadata.batch_queries import task_logs_of
from provider.metadata.definition_rows import read_predecessors
from provider.metadata.engine import read_session
from provider.metadata.renaming import called_now
from provider.metadata.rows import workflows_among
from provider.pages.access import Asking
from provider.pages.answers import answer
from provider.pages.batches import Text, visible_batch
from provider.restart import NothingToRestartError, plan_restart

#: Most tasks of a plan that are named.
MOST_SHOWN = 500

router = APIRouter(prefix="/api")


@router.get("/restart")
def show_plan(person: Asking, dag_id: Text, run_id: Text) -> Response:
    """
    Return a :class:`~provider.restart.RestartPlan`, and in ``more_runs`` and ``more_repeats`` how many are not shown.

    409 where nothing has failed or is blocked, or nothing can run again.
    """
    with read_session() as session:
        batch = visible_batch(session, person, dag_id, run_id)
        now = called_now(session, dag_id)
        tries = task_logs_of(session, dag_id, run_id)
        stored = read_predecessors(session, enabled_only=True)
    if now is not None:
        name = now if person.may_see(now) else "otherwise"
        raise HTTPException(409, f"{dag_id} is called {name} now, and Airflow runs nothing of the old name again.")
    # Who follows is told where all of those it comes after may be seen, as they are named with it.
    told = {name: said for name, said in stored.items() if all(map(person.may_see, [name, *workflows_among(said)]))}
    try:
        plan = asdict(plan_restart(batch, tries, predecessors=told))
    except NothingToRestartError as error:
        raise HTTPException(409, str(error)) from error
    if redact(plan["body"]) != plan["body"]:
        raise HTTPException(409, "Airflow masks a part of a task's id as a secret; `accelerator restart` runs it again.")
    more = {f"more_{name}": max(0, len(plan[name]) - MOST_SHOWN) for name in ("runs", "repeats")}
    return answer({**plan, **more, **{name: plan[name][:MOST_SHOWN] for name in ("runs", "repeats")}})
