"""Tests do not disturb each other."""

from __future__ import annotations

import pytest

from provider.airflow_internals.secrets import redact


@pytest.mark.parametrize("run", [1, 2])
def test_what_another_test_masks_is_no_secret_here(run: int) -> None:
    from airflow.sdk.log import mask_secret

    assert redact("a word of every day") == "a word of every day"
    mask_secret("word of every day")
    assert redact("a word of every day") == "a ***"
