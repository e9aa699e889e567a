"""What a row of type ``dataform`` says reaches the operator."""

from __future__ import annotations

from typing import Any

import pytest

from dag_factory.task_types import dataform
from provider.hooks.dataform.parameters import COMPILATION_FIELDS
from tests.dag_factory.definitions import DATAFORM


def operator(**config: Any) -> Any:
    made, arguments = dataform.operator(dataform.DataformConfig.model_validate({**DATAFORM, **config}))
    return made(task_id="stg_orders", **arguments)


def test_every_setting_of_the_compilation_is_handed_on() -> None:
    settings = dict.fromkeys(COMPILATION_FIELDS, "other")
    assert operator(compilation_config=settings).compilation_config == settings
    assert operator().compilation_config is None


def test_whether_it_makes_assets_is_handed_on() -> None:
    assert operator(emit_assets=True).outlets
    assert not operator().outlets


@pytest.mark.parametrize("allowed", [True, False])
def test_whether_nothing_may_fit_is_handed_on(allowed: bool) -> None:
    assert operator(allow_empty=allowed).allow_empty is allowed
    assert operator().allow_empty is False
