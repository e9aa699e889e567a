"""
Who asks, and what Airflow lets this person do: for pages that the API server shows.

A mounted application inherits no authentication of Airflow's, and its dependencies for authorisation look for an auth manager
in the state of an application that is not theirs. So the auth manager itself is asked. Airflow is imported when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: No DAG has this id: it starts with what Airflow refuses in one. Who may read or start it may do so with every DAG.
_ANY_DAG = "/any DAG at all/"


def login_check() -> Callable[..., Any]:
    """
    Return the dependency of FastAPI that finds out who asks; it answers 401 where nobody has logged in.

    Stands on ``airflow.api_fastapi.core_api.security.get_user`` (3.3.2), which takes a bearer token or the UI's cookie.
    """
    from airflow.api_fastapi.core_api.security import get_user

    return get_user


def readable_dag_ids(user: Any) -> frozenset[str]:
    """
    Return the DAGs that Airflow knows and this person may read.

    Stands on ``airflow.api_fastapi.app.get_auth_manager`` and
    ``airflow.api_fastapi.auth.managers.base_auth_manager.BaseAuthManager.get_authorized_dag_ids`` (3.3.2).
    """
    from airflow.api_fastapi.app import get_auth_manager

    return frozenset(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def name_of(user: Any) -> str:
    """
    Return what Airflow knows a person by.

    Stands on ``airflow.api_fastapi.auth.managers.models.base_user.BaseUser.get_name`` (3.3.2).
    """
    return str(user.get_name())


def may_read_every_dag(user: Any, readable: frozenset[str]) -> bool:
    """
    Tell whether this person may read every DAG, those included that Airflow does not know.

    Both must hold: the right to a DAG of any name, which nobody has who was given DAGs one by one; and to each that is there,
    as a DAG of another team is none of theirs.

    Stands on ``airflow.api_fastapi.auth.managers.base_auth_manager.BaseAuthManager.is_authorized_dag`` and on
    ``airflow.models.dag.DagModel`` (3.3.2).

    :param readable: what :func:`readable_dag_ids` says.
    """
    if not _is_authorized(user, "GET", _ANY_DAG):
        return False
    from sqlalchemy import select

    from provider.airflow_internals.database import DagModel, airflow_session

    with airflow_session() as session:
        return readable.issuperset(session.scalars(select(DagModel.dag_id)))


def may_start_runs(user: Any, dag_id: str | None) -> bool:
    """
    Tell whether this person may start runs of a DAG, as the button *Trigger* would ask.

    Stands on ``airflow.api_fastapi.auth.managers.models.resource_details.DagAccessEntity.RUN`` (3.3.2).

    :param dag_id: None for a DAG of any name.
    """
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity

    return _is_authorized(user, "POST", _ANY_DAG if dag_id is None else dag_id, DagAccessEntity.RUN)


def may_see_plugins(user: Any) -> bool:
    """
    Tell whether this person may see which plugins there are; without this right Airflow's UI shows no view of any plugin.

    Stands on ``airflow.api_fastapi.auth.managers.models.resource_details.AccessView.PLUGINS`` (3.3.2).
    """
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView

    return bool(get_auth_manager().is_authorized_view(access_view=AccessView.PLUGINS, user=user))


def _is_authorized(user: Any, method: str, dag_id: str, entity: Any = None) -> bool:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.models.dag import DagModel

    team = None if dag_id == _ANY_DAG else DagModel.get_team_name(dag_id)
    manager: Any = get_auth_manager()
    details = DagDetails(id=dag_id, team_name=team)
    return bool(manager.is_authorized_dag(method=method, access_entity=entity, details=details, user=user))
