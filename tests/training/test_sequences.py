"""Behaviour sequences hold strictly earlier events, newest first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.training.small_log import Rows, acts, shop_config, write_shop
from training.dataset import prepare
from training.log import ITEM, MICROSECONDS, TIME, USER, USER_ROW, Log, read_log
from training.sequences import Sequences

SECOND = MICROSECONDS["s"]


def build(folder: Path, **sections: object) -> tuple[Log, Sequences]:
    """The sequences of the shop in folder."""
    config = shop_config(**sections)
    log = read_log(config, folder)
    items = prepare(config, folder).lookups.items
    return log, Sequences.build(log, ("seen", "bought"), 4, items)


def raw(log: Log, sequences: Sequences, user: int, second: int, behaviour: int = 0) -> list[str]:
    """Raw items of one user's sequence before a second."""
    row = log.users.get_column(USER).to_list().index(user)
    spans = sequences.spans(np.array([row]), np.array([second * SECOND]))
    start, length = int(spans.start[0, behaviour]), int(spans.length[0, behaviour])
    ids = log.items.get_column(ITEM)
    return [ids[item] for item in sequences.item[start : start + length].tolist()]


def test_sequences_are_what_a_slow_reading_of_the_log_gives(tmp_path: Path) -> None:
    log, sequences = build(write_shop(tmp_path))
    rows = acts()
    for at, (user, second) in enumerate(zip(rows["user"], rows["at"], strict=True)):
        for behaviour, least in ((0, 0), (1, 2)):
            earlier = [
                rows["item"][n]
                for n in range(at)
                if rows["user"][n] == user and rows["at"][n] < second and rows["act"][n] >= least
            ]
            assert raw(log, sequences, user, second, behaviour) == earlier[::-1][:4]


def test_events_of_the_same_moment_do_not_count(tmp_path: Path) -> None:
    log, sequences = build(write_shop(tmp_path))
    assert raw(log, sequences, 1, 1_000) == []
    assert len(raw(log, sequences, 1, 1_001)) == 2


def test_gather_gives_the_item_tables_rows_and_padding(tmp_path: Path) -> None:
    config = shop_config()
    log, sequences = build(write_shop(tmp_path))
    items = prepare(config, tmp_path).lookups.items
    users = log.rows.get_column(USER_ROW).to_numpy().astype(np.int64)
    times = log.rows.get_column(TIME).to_numpy()
    history = sequences.gather(sequences.spans(users, times)).numpy()
    assert history.shape == (60, 2, 4, 2)
    for row in range(60):
        expected = np.zeros((4, 2), dtype=np.int32)
        names = raw(log, sequences, int(users[row]) + 1, int(times[row]) // SECOND)
        expected[: len(names)] = items.events(items.find(names)) if names else 0
        assert (history[row, 0] == expected).all()


@pytest.mark.parametrize("at", [999, 1_030, 5_000])
def test_any_moment_can_be_asked_for(tmp_path: Path, at: int) -> None:
    log, sequences = build(write_shop(tmp_path))
    assert len(raw(log, sequences, 1, at)) == (0 if at < 1_000 else 4)


def test_a_prior_table_comes_before_the_log_in_its_own_order(tmp_path: Path) -> None:
    prior: Rows = {"user": [1, 2, 9], "old": [["a", "b", "c"], [], ["z"]]}
    write_shop(tmp_path)
    pl.DataFrame(prior).write_parquet(tmp_path / "prior.parquet")
    table = {"path": "prior.parquet", "key": "user", "behaviours": {"seen": "old"}}
    log, sequences = build(tmp_path, data={"prior": table})
    assert raw(log, sequences, 1, 1_000) == ["c", "b", "a"]
    assert raw(log, sequences, 1, 1_001)[2:] == ["c", "b"]
    assert raw(log, sequences, 2, 1_000) == []
    assert raw(log, sequences, 9, 1_000) == ["z"]
    assert raw(log, sequences, 1, 1_000, behaviour=1) == []
