"""How scores are spread: every row counted once, bounded in time, rows and versions."""

from __future__ import annotations

import numpy as np
import pytest

from service import score_spread
from service.score_spread import BINS, BOUNDS, ScoreSpread, add_spreads


def column(*scores: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(scores, dtype=np.float32)


def test_each_row_is_counted_in_the_bin_of_its_score_for_its_task_and_version() -> None:
    spread = ScoreSpread()
    spread.observe({("click", 0): column(0.0, 0.5, 1.0), ("share", 2): column(0.1, 0.1, 0.1)})
    spread.observe({("click", 0): column(0.51)})
    told = spread.told()
    middle = int(np.searchsorted(BOUNDS, 0.505))
    assert (told["click"]["0"][0], told["click"]["0"][-1], told["click"]["0"][middle]) == (1, 1, 1)
    assert sum(told["click"]["0"]) == 4
    assert told["share"]["2"][int(np.searchsorted(BOUNDS, 0.1))] == 3


def test_what_is_no_number_is_counted_and_breaks_nothing() -> None:
    spread = ScoreSpread()
    spread.observe({("click", 0): column(np.nan, 0.5)})
    assert sum(spread.told()["click"]["0"]) == 2


def test_a_long_request_is_looked_at_in_part_and_over_all_its_length() -> None:
    spread = ScoreSpread()
    spread.observe({("click", 0): np.linspace(0, 1, 10_000, dtype=np.float32)})
    counts = spread.told()["click"]["0"]
    assert 32 <= sum(counts) <= 64
    assert counts[0]
    assert any(counts[-6:])


def test_requests_are_looked_at_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    spread = ScoreSpread()
    assert [spread.due(), spread.due()] == [True, False]
    now += score_spread.LOOK_EVERY_S
    assert spread.due()


def test_a_look_that_took_long_is_followed_by_a_long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    def later() -> float:
        nonlocal now
        now += 0.01
        return now

    monkeypatch.setattr("time.monotonic", later)
    spread = ScoreSpread()
    assert spread.due()
    spread.observe({("click", 0): column(0.5)})
    now += 4.9
    assert not spread.due()
    now += 0.2
    assert spread.due()


def test_removed_tasks_and_old_versions_are_forgotten() -> None:
    spread = ScoreSpread()
    for version in range(1, 10):
        spread.observe({("share", version): column(0.5), ("skip", 1): column(0.5)})
    spread.keep(["share"])
    assert list(spread.told()) == ["share"]
    assert list(spread.told()["share"]) == ["6", "7", "8", "9"]


def test_spreads_of_workers_add_up() -> None:
    one, other = ScoreSpread(), ScoreSpread()
    one.observe({("click", 0): column(0.5)})
    other.observe({("click", 0): column(0.5), ("share", 1): column(0.5)})
    total = add_spreads([one.told(), other.told()])
    assert sum(total["click"]["0"]) == 2
    assert len(total["share"]["1"]) == BINS
