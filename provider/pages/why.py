"""Route that says what keeps a batch from going on, as ``accelerator why`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from fastapi import APIRouter, HTTPException
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from provider.airflow_view.by_database import DatabaseView
from provider.explain.batches import BatchFacts, explain_batch
from provider.explain.dags import tells_of_definitions
from provider.metadata.engine import read_session
from provider.pages.access import Asking, Person
from provider.pages.answers import answer, database_says
from provider.pages.batches import Text, visible_batch
from provider.threads import within

router = APIRouter(prefix="/api")

#: How long Airflow's database may take for all its answers, in seconds.
_SECONDS = 20.0


@router.get("/why")
def say_why(person: Asking, dag_id: Text, run_id: Text) -> Response:
    """Return ``{"answers": [{"name", "passed", "reason", "remedy"}]}``; the first that did not pass is the cause."""
    with read_session() as session:
        facts = BatchFacts.read(session, visible_batch(session, person, dag_id, run_id))
    if facts.renamed is not None and not person.may_see(facts.renamed):
        facts = replace(facts, renamed="")
    try:
        answers = within(_SECONDS, partial(explain_batch, facts, _SeenBy(person)), "accelerator-why")
    except TimeoutError as error:
        raise HTTPException(503, f"Airflow's database cannot be read: {error}.") from error
    except SQLAlchemyError as error:
        raise HTTPException(503, f"Airflow's database cannot be read: {database_says(error)}") from error
    return answer({"answers": [asdict(one) for one in answers]})


class _SeenBy(DatabaseView):
    """Airflow's database, without the names of what somebody may not see."""

    def __init__(self, person: Person) -> None:
        # Asked for here: the session of whoever asks is not to be used from another thread.
        self.named = person.visible
        self.sees_all = person.visible is None

    def import_errors(self, dag_id: str) -> Sequence[Mapping[str, Any]]:
        """Name the files alone: their errors may name other people's workflows."""
        found = super().import_errors(dag_id)
        if self.sees_all:
            return found
        return [{**one, "stack_trace": None} for one in found if not tells_of_definitions(one)]
