"""A first look at a log."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.training.small_log import acts
from training.config import read_config
from training.dataset import prepare
from training.describe import describe
from training.errors import DataError


def log(folder: Path) -> Path:
    rows = acts(120)
    rows["is_buy"] = [int(act == 2) for act in rows.pop("act")]
    rows["city"] = ["Rome" if user % 2 else "Oslo" for user in rows["user"]]
    rows["brand"] = [f"brand of {item}" for item in rows["item"]]
    rows["tags"] = [["a", "b"]] * 119 + [["c"]]
    rows["page"] = ["home", "search"] * 60
    rows["version"] = [1] * 120
    rows["ts"] = [1_500_000_000 + second for second in rows.pop("at")]
    pl.DataFrame(rows).write_parquet(folder / "My log.parquet")
    return folder / "My log.parquet"


def test_columns_are_measured_and_their_roles_guessed(tmp_path: Path) -> None:
    found = describe(log(tmp_path))
    assert found.rows == 120
    roles = {column.name: column.role for column in found.columns}
    assert roles == {
        "user": "user_id",
        "item": "item_id",
        "page": "row",
        "distance": "row",
        "is_buy": "label",
        "city": "user",
        "brand": "item",
        "tags": "row",
        "version": "constant",
        "ts": "time",
    }
    tags = next(column for column in found.columns if column.name == "tags")
    assert (tags.distinct, tags.missing, tags.minimum) == (3, 0, None)
    user = next(column for column in found.columns if column.name == "user")
    assert (user.distinct, user.minimum, user.maximum) == (6, 1, 6)


def test_the_proposal_is_a_configuration_that_reads_the_file(tmp_path: Path) -> None:
    (tmp_path / "proposal.toml").write_text(describe(log(tmp_path)).toml, encoding="utf-8")
    config = read_config(tmp_path / "proposal.toml")
    assert config.name == "my-log"
    assert [task.name for task in config.tasks] == ["buy"]
    assert [feature.name for feature in config.features] == ["user", "item", "city", "brand"]
    assert len(prepare(config, tmp_path).train) == 96


def test_feedback_is_never_proposed_as_a_feature_without_a_look(tmp_path: Path) -> None:
    assert (
        '# { name = "distance", kind = "dense", side = "context" }' in describe(log(tmp_path)).toml
    )


def test_rows_without_users_bring_their_fields_themselves(tmp_path: Path) -> None:
    pl.DataFrame({"height": [1.5, 1.7], "tall": [False, True]}).write_csv(tmp_path / "people.csv")
    proposal = describe(tmp_path / "people.csv").toml
    assert '  { name = "height", kind = "dense", side = "item" },' in proposal
    assert 'by = "random"' in proposal
    assert 'label = "tall"' in proposal


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": pl.Series([], dtype=pl.Int64)}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="holds no rows"):
        describe(tmp_path / "a.parquet")
