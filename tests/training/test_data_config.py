"""Sections that contradict each other are refused when the file is read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.training.small_log import FEATURES, shop_config

ONE_TASK = [{"name": "click", "label": "act = 1"}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"user_id": None, "users": None}}, "history needs data.user_id"),
        ({"data": {"user_id": None}}, "joined by user_id"),
        ({"data": {"time": None}}, "needs data.time"),
        ({"split": {"by": "boundaries"}}, "needs valid_from and test_from"),
        ({"split": {"by": "column"}}, "needs column"),
        ({"split": {"valid": 0.5, "test": 0.5}}, "nothing to train on"),
        ({"tasks": ONE_TASK * 2}, "stands twice"),
        ({"tasks": [{**ONE_TASK[0], "new": True}]}, "every task is new"),
        ({"features": [{**FEATURES[2], "type": "int64"}]}, "not for dense"),
        ({"features": [{**FEATURES[1], "separator": ","}]}, "for multivalued only"),
        (
            {"data": {"prior": {"path": "p", "key": "k", "behaviours": {"odd": "c"}}}},
            r"names \['odd'\]",
        ),
        (
            {
                "history": None,
                "data": {"prior": {"path": "p", "key": "k", "behaviours": {"odd": "c"}}},
            },
            "there is no history",
        ),
    ],
)
def test_a_contradiction_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        shop_config(**changes)
