"""Reading files and typing columns."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from training.data_config import FeatureConfig
from training.errors import DataError
from training.tables import derive, expression, scan, typed


def feature(**values: object) -> FeatureConfig:
    return FeatureConfig.model_validate({"name": "x", "side": "user", **values})


def test_shards_of_a_glob_are_one_table_in_order_of_name(tmp_path: Path) -> None:
    pl.DataFrame({"a": [2]}).write_parquet(tmp_path / "b.parquet")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "a.parquet")
    assert scan(tmp_path, "*.parquet").collect().get_column("a").to_list() == [1, 2]


def test_a_compressed_csv_without_header_takes_the_given_columns(tmp_path: Path) -> None:
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(b"1,x\n2,y\n3"))
    frame = scan(tmp_path, "log.csv.gz", ("id", "word")).collect()
    assert frame.to_dict(as_series=False) == {"id": [1, 2, 3], "word": ["x", "y", None]}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("none*.csv", "no file matches"), ("none.csv", "no file matches"), ("a.txt", "expected a")],
)
def test_a_pattern_that_gives_no_table_is_refused(
    tmp_path: Path, pattern: str, message: str
) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=message):
        scan(tmp_path, pattern)


def test_a_damaged_file_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"cannot read a\.parquet"):
        scan(tmp_path, "a.parquet")


def test_formats_are_not_mixed(tmp_path: Path) -> None:
    pl.DataFrame({"a": [2]}).write_parquet(tmp_path / "b.parquet")
    (tmp_path / "b.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="several formats"):
        scan(tmp_path, "b*")


def test_a_derived_column_may_use_the_one_before_it() -> None:
    frame = derive(pl.LazyFrame({"a": [1]}), {"b": "a + 1", "c": "b * 10"}, "the log")
    assert frame.collect().row(0) == (1, 2, 20)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("b > 1", "no column 'b'; there are a, s"),
        ("(a", "cannot evaluate '\\(a'"),
        ("a + s > 1", "cannot evaluate"),
    ],
)
def test_an_expression_that_does_not_fit_names_itself(sql: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        expression(pl.LazyFrame({"a": [1], "s": ["x"]}), sql, "task t")


def test_text_is_cut_at_the_separator_without_empty_parts_and_to_length() -> None:
    frame = pl.LazyFrame({"x": ["p,q,,r,s", "", None]})
    cut = frame.select(typed(frame, feature(kind="multivalued", separator=",", max_values=3)))
    assert cut.collect().get_column("x").to_list() == [["p", "q", "r"], [], None]


def test_a_multivalued_column_is_a_list_or_is_cut() -> None:
    with pytest.raises(DataError, match="expected a list column"):
        typed(pl.LazyFrame({"x": ["p"]}), feature(kind="multivalued"))


def test_a_dense_value_that_is_not_finite_is_missing() -> None:
    frame = pl.LazyFrame({"x": [1.0, float("nan"), float("inf"), None]})
    assert frame.select(typed(frame, feature(kind="dense"))).collect().get_column(
        "x"
    ).to_list() == [1.0, None, None, None]
