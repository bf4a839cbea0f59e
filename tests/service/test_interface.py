"""What a new model may change under callers and stored features, and what not."""

from __future__ import annotations

from typing import Any

import pytest

from contract.schema import DenseField, FeatureSchema
from service.errors import BundleUnfit
from service.interface import refuse_other_interface
from tests.fakes import example_schema

KEPT = 5


def changed(**fields: object) -> FeatureSchema:
    return example_schema().model_copy(update=fields)


def field(at: int, **values: object) -> dict[str, Any]:
    fields = list(example_schema().fields)
    fields[at] = fields[at].model_copy(update=values)
    return {"fields": tuple(fields)}


def test_what_training_fits_may_differ() -> None:
    ours = example_schema()
    larger = tuple(v.model_copy(update={"size": v.size + 7}) for v in ours.vocabularies)
    theirs = changed(vocabularies=larger, history_length=3, **field(1, maximum=120))
    refuse_other_interface(ours, theirs, KEPT)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"behaviours": ("view",)}, "its behaviours:"),
        ({"item_id_type": "string"}, "its item ids: string, here int64"),
        ({"history_length": 6}, "TASKGRAFT_HISTORY_CAP=6"),
        ({"fields": example_schema().fields[:-1]}, "no field distance"),
        (
            {
                "fields": (
                    *example_schema().fields,
                    DenseField(name="new", side="user", minimum=0, maximum=1),
                )
            },
            "it reads new",
        ),
        (field(5, max_values=4), "tags is multivalued .item., at most 4"),
        (field(3, vocabulary="word"), "hour is categorical .context. of string"),
    ],
)
def test_what_callers_and_stores_see_may_not(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BundleUnfit, match=sentence):
        refuse_other_interface(example_schema(), changed(**changes), KEPT)
