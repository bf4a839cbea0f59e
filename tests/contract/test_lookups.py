from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import CorruptBundle
from contract.item_table import ItemTable
from contract.lookups import Lookups
from contract.schema import (
    CategoricalField,
    DenseField,
    FeatureSchema,
    MultiValuedField,
    VocabularySpec,
)
from contract.vocabulary import MAX_KEY_BYTES, Vocabulary, as_keys

SCHEMA = FeatureSchema(
    vocabularies=(
        VocabularySpec(name="item_id", type="int64", size=3),
        VocabularySpec(name="genre", type="string", size=2),
    ),
    fields=(
        CategoricalField(name="item_id", side="item", vocabulary="item_id"),
        MultiValuedField(name="genres", side="item", vocabulary="genre", max_values=2),
        DenseField(name="year", side="item", minimum=1900, maximum=2000),
        CategoricalField(name="best_genre", side="item", vocabulary="genre"),
    ),
    behaviours=("liked",),
    history_length=5,
    history_fields=("item_id", "best_genre"),
    user_id_type="string",
    item_id_type="int64",
    user_id_field=None,
    item_id_field="item_id",
)


def lookups() -> Lookups:
    items = ItemTable.build(
        SCHEMA,
        [70, 10],
        ids=np.array([[1, 5], [2, 6]], dtype=np.int32),
        dense=np.array([[0.5], [0.25]], dtype=np.float32),
        bags=np.array([[5, 0], [5, 6]], dtype=np.int32),
    )
    return Lookups(
        SCHEMA,
        {
            "item_id": Vocabulary.build(SCHEMA.vocabularies[0], [70, 10, 2**62]),
            "genre": Vocabulary.build(SCHEMA.vocabularies[1], ["drama", "Ωmega"]),
        },
        items,
    )


def test_keys_are_numbered_by_rank_and_the_unknown_comes_last() -> None:
    vocabulary = lookups().vocabularies["item_id"]
    assert vocabulary.local([10, 70, 2**62, 5]).tolist() == [2, 1, 3, 4]


def test_each_vocabulary_owns_its_rows_after_the_padding_row() -> None:
    found = lookups()
    assert found.rows("item_id", [70, 99]).tolist() == [1, SCHEMA.oov_row("item_id")]
    assert found.rows("genre", ["drama", "Ωmega", "?"]).tolist() == [5, 6, 7]
    assert SCHEMA.table_rows == 8


@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=50))
def test_any_64_bit_ids_are_told_apart(keys: list[int]) -> None:
    spec = VocabularySpec(name="v", type="int64", size=len(keys))
    vocabulary = Vocabulary.build(spec, keys)
    assert vocabulary.local(keys).tolist() == list(range(1, len(keys) + 1))


@given(st.lists(st.text(max_size=20).filter(lambda s: not s.endswith("\0")), unique=True))
def test_any_strings_are_told_apart(keys: list[str]) -> None:
    spec = VocabularySpec(name="v", type="string", size=len(keys))
    vocabulary = Vocabulary.build(spec, keys)
    assert vocabulary.local(keys).tolist() == list(range(1, len(keys) + 1))


@pytest.mark.parametrize("text", ["drama\0", "\0", "x" * (MAX_KEY_BYTES + 1), "\udcff"])
def test_a_string_no_vocabulary_can_hold_is_unknown(text: str) -> None:
    assert lookups().vocabularies["genre"].local([text]).tolist() == [3]


@pytest.mark.parametrize("value", [True, 1.0, "1", None, 2**63, -(2**63) - 1])
def test_a_value_of_another_type_is_no_integer_id(value: object) -> None:
    with pytest.raises(ValueError, match=r"integer"):
        as_keys([value], "int64")


@pytest.mark.parametrize("value", [1, None, b"x", ["x"]])
def test_a_value_of_another_type_is_no_string(value: object) -> None:
    with pytest.raises(ValueError, match="not a string"):
        as_keys([value], "string")


def test_repeated_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary.build(VocabularySpec(name="v", type="int64", size=2), [1, 1])


def test_an_unknown_item_has_the_last_row() -> None:
    items = lookups().items
    rows = items.find([10, 999, 70])
    assert rows.tolist() == [1, 2, 0]
    assert items.ids[2].tolist() == [SCHEMA.oov_row("item_id"), SCHEMA.oov_row("genre")]
    assert items.bags[2].tolist() == [0, 0]


def test_an_event_is_described_by_the_history_fields() -> None:
    items = lookups().items
    assert items.events(items.find([10, 70])).tolist() == [[2, 6], [1, 5]]


def test_dense_values_are_scaled_and_clipped_and_missing_is_zero() -> None:
    field = SCHEMA.dense("item")[0]
    values = np.array([1900, 1950, 2000, 1e308, -1e308, np.nan])
    assert lookups().scale(field, values).tolist() == [0, 0.5, 1, 1, 0, 0]


def test_saved_lookups_open_as_they_were(tmp_path: Path) -> None:
    lookups().save(tmp_path)
    opened = Lookups.open(tmp_path)
    assert opened.schema == SCHEMA
    assert opened.schema.digest() == SCHEMA.digest()
    assert opened.rows("genre", ["Ωmega", "nope"]).tolist() == [6, 7]
    assert opened.items.find([70, 10, 0]).tolist() == [0, 1, 2]


def test_an_empty_vocabulary_and_catalogue_know_nothing(tmp_path: Path) -> None:
    schema = FeatureSchema(
        vocabularies=(VocabularySpec(name="i", type="string", size=0),),
        fields=(CategoricalField(name="i", side="item", vocabulary="i"),),
        user_id_type="int64",
        item_id_type="string",
        user_id_field=None,
        item_id_field="i",
    )
    none = np.empty((0, 0))
    items = ItemTable.build(
        schema, [], none.astype(np.int32), none.astype(np.float32), none.astype(np.int32)
    )
    Lookups(schema, {"i": Vocabulary.build(schema.vocabularies[0], [])}, items).save(tmp_path)
    opened = Lookups.open(tmp_path)
    assert opened.rows("i", ["a"]).tolist() == [1]
    assert opened.items.find(["a", "b"]).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["schema.json", "genre.keys.npy", "items.ids.npy"])
@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY garbage", b"{}"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: bytes) -> None:
    lookups().save(tmp_path)
    (tmp_path / name).write_bytes(damage)
    with pytest.raises(CorruptBundle, match=name.replace(".", r"\.")):
        Lookups.open(tmp_path)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    lookups().save(tmp_path)
    objects = np.array([{}, {}], dtype=object)
    np.save(tmp_path / "genre.local.npy", objects, allow_pickle=True)
    with pytest.raises(CorruptBundle, match="genre"):
        Lookups.open(tmp_path)


def test_a_table_of_another_schema_is_refused(tmp_path: Path) -> None:
    lookups().save(tmp_path)
    np.save(tmp_path / "items.bags.npy", np.zeros((3, 9), dtype=np.int32))
    with pytest.raises(CorruptBundle, match="does not fit the schema"):
        Lookups.open(tmp_path)
