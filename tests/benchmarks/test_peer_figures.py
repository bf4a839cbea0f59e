"""Beside other servers: the goal is against the best of them, round by round."""

from __future__ import annotations

from benchmarks.peer_figures import figures_of

ROUND = {
    "taskgraft int8/100/rate": 100.0,
    "taskgraft exact/100/rate": 45.0,
    "quick/100/rate": 20.0,
    "quick/100/p99": 7.0,
    "slow/100/rate": 5.0,
}


def goals(rounds: list[dict[str, float]]) -> dict[str, bool]:
    return {f.name: f.holds for f in figures_of(rounds) if f.holds is not None}


def test_only_the_best_peer_is_judged() -> None:
    assert goals([ROUND, ROUND]) == {
        "peers/taskgraft int8/100/over quick": True,
        "peers/taskgraft exact/100/over quick": True,
    }


def test_a_peer_that_comes_close_breaks_the_goal() -> None:
    assert set(goals([ROUND | {"slow/100/rate": 30.0}]).values()) == {False}


def test_a_peer_that_failed_in_a_round_is_judged_by_the_others() -> None:
    slower = {name: rate / 2 for name, rate in ROUND.items() if not name.startswith("quick")}
    figures = {figure.name: figure for figure in figures_of([ROUND, slower])}
    assert figures["peers/taskgraft int8/100/over quick"].value == 5.0
    assert figures["peers/taskgraft int8/100/over quick"].holds
    assert figures["peers/taskgraft int8/100/over slow"].spread == (20.0, 20.0)


def test_open_loop_latencies_are_told_beside_rates() -> None:
    figures = {figure.name: figure.value for figure in figures_of([ROUND])}
    assert figures["peers/quick/100/open loop at 70 %/p99"] == 7.0


def test_without_peers_nothing_is_compared() -> None:
    assert goals([{name: rate for name, rate in ROUND.items() if "taskgraft" in name}]) == {}
