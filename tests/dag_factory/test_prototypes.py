"""Operators that are made like others are what their constructors make."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from airflow.sdk import BaseOperator

from dag_factory import prototypes
from dag_factory.prototypes import Prototypes
from dag_factory.task_types.registry import BUILT_IN, task_types
from provider.operators.dataform import DataformWorkflowInvocationOperator
from tests.dag_factory.definitions import DATAFORM, Rows, good_rows
from tests.dag_factory.stored_dag import build, stored
from tests.dag_factory.test_row_templates import CONFIGS

TYPES = task_types()
KEEPING = [name for name in BUILT_IN if (found := TYPES.get(name)) is not None and found.keeps_templates]


def otherwise(value: Any) -> Any:
    """Return a value of the same form with other texts."""
    if isinstance(value, dict):
        return {key: otherwise(item) for key, item in value.items()}
    if isinstance(value, list):
        return [otherwise(item) for item in value]
    return f"other {value}" if isinstance(value, str) else value


def test_types_of_others_may_conclude_what_they_like_from_a_template() -> None:
    assert all(TYPES.is_built_in(name) for name in KEEPING)


@pytest.mark.parametrize(("name", "config"), [(name, config) for name in KEEPING for config in CONFIGS[name]])
def test_an_operator_like_another_is_what_its_constructor_makes(name: str, config: dict[str, Any]) -> None:
    task_type: Any = TYPES.get(name)
    operator, given = task_type.operator(task_type.config_model.model_validate(config))
    kept = {key: value for key, value in given.items() if key in operator.template_fields}
    others = {key: value for key, value in given.items() if key not in kept}
    known = Prototypes()
    known.make(operator, others, {**otherwise(kept), "task_id": "first"})

    with patch.object(operator, "__init__", side_effect=AssertionError("made by its constructor")):
        made = known.make(operator, others, {**kept, "task_id": "second"})

    assert vars(made) == vars(operator(**given, task_id="second"))


def test_what_python_takes_for_equal_is_another_prototype() -> None:
    known = Prototypes()
    made = [known.make(BaseOperator, {"retry_exponential_backoff": value}, {"task_id": "t"}) for value in (1, 1.0, True)]

    assert [repr(one.retry_exponential_backoff) for one in made] == ["1", "1.0", "True"]


def test_arguments_that_only_one_was_given_stay_with_it() -> None:
    known = Prototypes()
    made = [known.make(BaseOperator, {}, {"task_id": f"t{len(own)}", **own}) for own in ({}, {"doc_md": "words"}, {})]

    assert [one.doc_md for one in made] == [None, "words", None]


def test_an_alias_of_assets_has_the_name_of_its_own_task() -> None:
    known = Prototypes()
    given = {"emit_assets": True}
    own = DATAFORM | {"git_commitish": "main"}
    made = [known.make(DataformWorkflowInvocationOperator, given, {**own, "task_id": name}) for name in ("a", "b")]

    assert [one.outlets[0].name for one in made] == ["dataform:a", "dataform:b"]


@pytest.mark.parametrize("rows", [good_rows()], ids=["good"])
def test_airflow_stores_the_same_without_any_prototype(rows: Rows) -> None:
    with_them = stored(build(rows))
    with patch.object(prototypes, "like", side_effect=lambda made, own: type(made)(**{**made._BaseOperator__init_kwargs, **own})):
        assert stored(build(rows)) == with_them
