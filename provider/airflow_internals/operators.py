"""Operators as their constructors leave them. It is imported where DAGs are built, with what that imports of Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from airflow.sdk import BaseOperator, ParamsDict  # type: ignore[attr-defined]  # ParamsDict is missing in the stub of Airflow 3.3

#: Arguments that an operator has under another name.
_ATTRIBUTES = {"pre_execute": "_pre_execute_hook", "task_display_name": "_task_display_name"}

#: Types of what an operator has for itself alone.
_ITS_OWN = frozenset({list, set, dict, ParamsDict})


def like(prototype: BaseOperator, changed: Mapping[str, Any]) -> BaseOperator:
    """
    Return an operator as the constructor of another one would have made it of some other arguments.

    Stands on ``airflow.sdk.bases.operator.BaseOperator`` (3.3.2): its constructor keeps ``task_id``, ``doc_md`` and those of
    :data:`_ATTRIBUTES` as they are, and all arguments in ``__init_kwargs``; outside of a DAG an operator has nothing for itself
    alone but values of the types in :data:`_ITS_OWN`.

    :param prototype: in no DAG, and nothing has been changed on it.
    :param changed: arguments that its constructor was given too, and keeps as they are.
    """
    made = object.__new__(type(prototype))
    state = vars(made)
    state.update(vars(prototype))
    for name, value in vars(prototype).items():
        if type(value) in _ITS_OWN:  # nearly always empty
            state[name] = copy(value) if value else type(value)()
    state["_BaseOperator__init_kwargs"].update(changed)
    state.update((_ATTRIBUTES.get(name, name), value) for name, value in changed.items())
    return made
