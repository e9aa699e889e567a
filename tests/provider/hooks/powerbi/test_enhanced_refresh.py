"""The body of an enhanced refresh."""

from __future__ import annotations

import pytest

from provider.exceptions import ConfigurationError
from provider.hooks.powerbi.enhanced_refresh import EnhancedRefresh, enhanced_refresh


class TestBody:
    def test_both_spellings_are_accepted(self):
        body = enhanced_refresh({"commitMode": "PartialBatch", "apply_refresh_policy": False, "maxParallelism": 2}).body()

        assert body == {
            "type": "automatic",
            "commitMode": "partialBatch",
            "applyRefreshPolicy": False,
            "maxParallelism": 2,
        }

    @pytest.mark.parametrize(
        ("wrong", "reason"),
        [
            ({"timeout": "25:00:00"}, "timeout"),
            ({"objects": []}, "objects"),
            ({"objects": [{"tabel": "Orders"}]}, "objects.0.tabel"),
            ({"notifyOption": "MailOnFailure"}, "notifyOption"),
            ({"retryCount": -1}, "retryCount"),
        ],
    )
    def test_wrong_values_are_named(self, wrong, reason):
        with pytest.raises(ConfigurationError, match=reason):
            enhanced_refresh(wrong)

    def test_empty_body_would_be_a_classic_refresh(self):
        assert EnhancedRefresh().body() == {"type": "automatic"}
