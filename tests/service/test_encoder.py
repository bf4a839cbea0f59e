from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contract.bundle import open_bundle
from service.encoder import Encoder
from service.errors import InvalidField
from service.features import UserFeatures
from tests.service.tiny import BUNDLE, NOTHING, request

LOOKUPS = open_bundle(BUNDLE).lookups
SCHEMA = LOOKUPS.schema
ENCODER = Encoder(LOOKUPS)


def encode(features: UserFeatures = NOTHING, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any field
    return ENCODER.encode(request(**changes), features)


def test_the_arrays_are_those_the_schema_promises() -> None:
    arrays = encode(history={"clicked": [100, 101]})
    sizes = {"U": 1, "N": 3, "L": 2}
    for spec in SCHEMA.inputs():
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)
        assert (arrays[spec.name].shape, arrays[spec.name].dtype.name) == (shape, spec.dtype)


def test_histories_stand_newest_first_and_are_cut_to_the_newest() -> None:
    sent = [100, 101, 102, 103, 104, 105, 106]
    history = encode(history={"clicked": sent})["history"][0, 0]
    newest = LOOKUPS.items.events(LOOKUPS.items.find([106, 105, 104, 103, 102]))
    np.testing.assert_array_equal(history, newest)


def test_the_shorter_of_two_histories_is_padded_at_its_end() -> None:
    history = encode(history={"clicked": [100], "liked": [100, 101]})["history"]
    assert history[0, 0, 0, 0] != 0
    assert not history[0, 0, 1].any()
    assert history[0, 1].all()


def test_an_unknown_item_in_a_history_is_an_event_all_the_same() -> None:
    history = encode(history={"clicked": [987654]})["history"]
    assert history[0, 0, 0, 0] == SCHEMA.oov_row("item_id")


def test_unknown_values_become_the_unknown_row() -> None:
    arrays = encode(user_id="nobody", item_ids=[987654], context={"device": "fridge"})
    assert arrays["user_ids"][0].tolist() == [SCHEMA.oov_row("user_id"), SCHEMA.oov_row("device")]
    assert arrays["item_ids"][0, 0] == SCHEMA.oov_row("item_id")


def test_the_request_wins_over_the_store_field_by_field() -> None:
    stored = UserFeatures(profile={"age": 20.0, "hobbies": ["chess"]}, histories={}, items={})
    both = encode(stored, user={"age": 49})
    sent = encode(user={"age": 49, "hobbies": ["chess"]})
    for name in both:
        np.testing.assert_array_equal(both[name], sent[name])


def test_the_request_wins_over_the_store_behaviour_by_behaviour() -> None:
    histories = {"clicked": np.array([100, 101]), "liked": np.array([102])}
    stored = UserFeatures(profile={}, histories=histories, items={})
    both = encode(stored, history={"clicked": [103]})
    sent = encode(history={"clicked": [103], "liked": [102]})
    np.testing.assert_array_equal(both["history"], sent["history"])


@pytest.mark.parametrize(
    "profile",
    [{"age": "old"}, {"hobbies": [1, 2]}, {"hobbies": ["a"] * 9}, {"age": True}, {"no_field": 1}],
)
def test_a_stored_value_of_the_wrong_type_counts_as_missing(profile: dict[str, Any]) -> None:
    stored = encode(UserFeatures(profile=profile, histories={}, items={}))
    missing = encode()
    for name, array in stored.items():
        np.testing.assert_array_equal(array, missing[name])


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"user_id": 5}, "user_id"),
        ({"item_ids": ["100"]}, "item_ids"),
        ({"item_ids": [2**63]}, "item_ids"),
        ({"user": {"height": 1}}, "user.height"),
        ({"user": {"user_id": "user-4"}}, "user.user_id"),
        ({"user": {"age": "forty"}}, "user.age"),
        ({"user": {"age": True}}, "user.age"),
        ({"user": {"age": float("inf")}}, "user.age"),
        ({"user": {"age": 10**400}}, "user.age"),
        ({"user": {"hobbies": ["a", "b", "c", "d"]}}, "user.hobbies"),
        ({"context": {"device": 3}}, "context.device"),
        ({"context": {"device": ["phone"]}}, "context.device"),
        ({"context": {"age": 3}}, "context.age"),
        ({"items": [{}]}, "items"),
        ({"items": [{}, {"colour": 1}, {}]}, "items[1].colour"),
        ({"items": [{}, {}, {"size": 1}]}, "items[2].size"),
        ({"history": {"seen": [100]}}, "history.seen"),
        ({"history": {"clicked": ["100"]}}, "history.clicked"),
    ],
)
def test_what_cannot_be_this_models_is_named(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidField) as caught:
        encode(**changes)
    assert caught.value.where == where


def test_an_item_can_be_given_other_features_for_one_request() -> None:
    changed = encode(items=[{}, {"colour": "blue", "price": 3.0}, {"distance": 0.5}])
    usual = encode()
    assert changed["item_ids"][1, 1] != usual["item_ids"][1, 1]
    np.testing.assert_array_equal(changed["item_ids"][0], usual["item_ids"][0])
    assert changed["item_dense"][2, 1] > 0


def test_a_request_never_writes_into_the_catalogue() -> None:
    before = LOOKUPS.items.ids.copy()
    encode(items=[{"colour": "blue"}] * 3)
    np.testing.assert_array_equal(LOOKUPS.items.ids, before)


def test_the_store_may_override_an_items_fields() -> None:
    stored = UserFeatures(profile={}, histories={}, items={"101": {"colour": "blue", "x": 1}})
    found = encode(stored)
    sent = encode(items=[{}, {"colour": "blue"}, {}])
    np.testing.assert_array_equal(found["item_ids"], sent["item_ids"])


def stored() -> UserFeatures:
    """As a store gives them: with the values they were made of."""
    histories = {"clicked": np.array([100, 101]), "liked": np.array([102])}
    return UserFeatures({"age": 20.0, "hobbies": ["chess"]}, histories, {}, (b"profile",))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"item_ids": [101, 987654]},
        {"context": {"device": "phone"}},
        {"context": {"device": None}},
        {"user": {"age": 49}},
        {"user": {"hobbies": None}},
        {"history": {"clicked": [103]}},
        {"history": {}},
        {"items": [{}, {}, {}]},
    ],
    ids=str,
)
def test_who_comes_again_is_encoded_as_at_first(changes: dict[str, Any]) -> None:
    features, first = stored(), encode(stored(), **changes)
    for before in ({}, {"context": {"device": "tablet"}}, {"user": {"age": 1}}, changes, changes):
        encode(features, **before)
    again = encode(features, **changes)
    assert again.keys() == first.keys()
    for name, array in again.items():
        np.testing.assert_array_equal(array, first[name])


def test_two_forms_of_one_id_are_two_users_with_one_history() -> None:
    features = stored()
    for user_id in ("user-3", "user-1", "user-3"):
        again = encode(features, user_id=user_id)
        np.testing.assert_array_equal(
            again["user_ids"], encode(stored(), user_id=user_id)["user_ids"]
        )


def test_another_encoder_makes_its_own_of_the_same_features() -> None:
    features = stored()
    encode(features)
    for _ in range(2):
        Encoder(LOOKUPS).encode(request(), features)
    assert len(features.encoded) == 1


def test_what_a_store_never_held_is_not_remembered() -> None:
    features = UserFeatures({}, {}, {})
    encode(features)
    assert not features.encoded
