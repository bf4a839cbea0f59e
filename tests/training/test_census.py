"""The Census-Income files as one table."""

from __future__ import annotations

import polars as pl
import pytest

from training.census import census_tables
from training.errors import DataError

LINE = b"38, Private, " + b"0, " * 22 + b"1032.38, ?, " + b"0, " * 15 + b"- 50000.\n"


def test_text_is_stripped_and_numbers_are_numbers() -> None:
    people = census_tables((LINE, LINE * 2))["people"]
    first = people.row(0, named=True)
    assert first["age"] == 38.0
    assert first["class_worker"] == "Private"
    assert first["mig_chg_msa"] == "?"


def test_the_test_file_is_halved_always_the_same_way() -> None:
    lines = b"".join(LINE.replace(b"38", str(age).encode(), 1) for age in range(11))
    people = census_tables((LINE, lines))["people"]
    again = census_tables((LINE, lines))["people"]
    assert people.equals(again)
    sizes = dict(people.group_by("part").agg(pl.len()).iter_rows())
    assert sizes == {"train": 1, "valid": 5, "test": 6}


def test_a_file_of_another_width_is_refused() -> None:
    with pytest.raises(DataError, match="has 2 columns, expected 42"):
        census_tables((b"1,2\n", LINE))
