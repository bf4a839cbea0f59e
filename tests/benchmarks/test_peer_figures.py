"""Beside other servers: the goal is against the best of them, round by round."""

from __future__ import annotations

from benchmarks.peer_figures import figures_of

ROUND = {"taskgraft int8/100": 100.0, "taskgraft exact/100": 45.0, "quick/100": 20.0, "slow/100": 5}


def goals(rounds: list[dict[str, float]]) -> dict[str, bool]:
    return {f.name: f.holds for f in figures_of(rounds) if f.holds is not None}


def test_only_the_best_peer_is_judged() -> None:
    assert goals([ROUND, ROUND]) == {
        "peers/taskgraft int8/100/over quick": True,
        "peers/taskgraft exact/100/over quick": True,
    }


def test_a_peer_that_comes_close_breaks_the_goal() -> None:
    assert set(goals([ROUND | {"slow/100": 30.0}]).values()) == {False}


def test_a_peer_that_failed_in_a_round_is_left_out() -> None:
    failed = {name: rate for name, rate in ROUND.items() if name != "quick/100"}
    assert set(goals([ROUND, failed])) == {
        "peers/taskgraft int8/100/over slow",
        "peers/taskgraft exact/100/over slow",
    }
