"""
Who asks for a page, and which workflows this person may see.

A workflow is a DAG, so Airflow's rights to the DAG decide. What belongs to no DAG that Airflow knows (a message that nobody
understands, the batches of a workflow that is gone) is for those who may read every DAG: it might be anybody's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request

from provider.airflow_internals import people

LOGIN = people.login_check()


@dataclass(frozen=True)
class Person:
    """Whoever asks; rights are looked up once for a request, and only where they matter."""

    user: Any

    @property
    def name(self) -> str:
        """What Airflow knows the person by."""
        return people.name_of(self.user)

    @cached_property
    def visible(self) -> frozenset[str] | None:
        """The workflows that may be seen; None for all, those included that are no DAG."""
        readable = people.readable_dag_ids(self.user)
        return None if people.may_read_every_dag(self.user, readable) else readable

    def may_see(self, workflow_id: str | None) -> bool:
        """Tell whether rows of a workflow may be seen; None is what belongs to none."""
        return self.visible is None or workflow_id in self.visible

    def may_start(self, workflow_id: str | None) -> bool:
        """Tell whether batches of a workflow may be seen and started; None is a workflow that cannot be told."""
        return self.may_see(workflow_id) and people.may_start_runs(self.user, workflow_id)

    def may_see_health(self) -> bool:
        """Tell whether machines and settings may be seen, which the doctor's findings name."""
        return people.may_see_plugins(self.user)

    def of_those(self, workflow_ids: Collection[str]) -> list[str]:
        """Return which of these workflows may be seen."""
        return [workflow_id for workflow_id in workflow_ids if self.may_see(workflow_id)]


def _person(user: Annotated[Any, Depends(LOGIN)]) -> Person:
    return Person(user)


def _refuse_forms(request: Request) -> None:
    """
    Refuse what a form of another site can send: JSON is sent across sites with the browser's consent alone.

    The cookie is not sent across sites either (``SameSite=Lax``), but a neighbour in the same domain is the same site.
    """
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise HTTPException(415, "send application/json.")


#: Whoever asks, for a route.
Asking = Annotated[Person, Depends(_person)]

#: For routes that change something.
only_json = Depends(_refuse_forms)


def found(row: Any, what: str) -> Any:
    """
    Return a row.

    :raises HTTPException: 404 where there is none. What may not be seen is not there either, so that nobody can ask which ids
        there are.
    """
    if row is None:
        raise HTTPException(404, f"There is no {what}, or you may not see it.")
    return row
