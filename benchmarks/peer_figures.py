"""Rounds of measures to figures: each server's, and how many times its rate taskgraft's is.

    "fastapi/100/rate", ".../p50", ".../p99" of each round --figures_of--> those, ratios with goals

A peer that failed in some rounds is compared in the others. The best peer is the one with the
highest median rate at that size; taskgraft is judged against it alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.results import Figure
from benchmarks.rounds import Goal, Rounds

COMMAND = "make bench-peers"
GOALS = {"taskgraft int8": Goal(">=", 4.0), "taskgraft exact": Goal(">=", 1.8)}
_TOLD = {
    "rate": ("rate", "requests/s"),
    "p50": ("open loop at 70 %/p50", "ms"),
    "p99": ("open loop at 70 %/p99", "ms"),
}
Round = Mapping[str, float]


def figures_of(rounds: Sequence[Round]) -> list[Figure]:
    measured = dict.fromkeys(name for one in rounds for name in one)
    figures = []
    for name in measured:
        server, size, what = name.split("/")
        told, unit = _TOLD[what]
        values = Rounds.of([one[name] for one in rounds if name in one])
        figures.append(values.figure(f"peers/{server}/{size}/{told}", unit, COMMAND))
    for size in dict.fromkeys(name.split("/")[1] for name in measured):
        servers = [name.split("/")[0] for name in measured if name.endswith(f"/{size}/rate")]
        figures += _ratios(size, [name for name in servers if name not in GOALS], rounds)
    return figures


def _ratios(size: str, others: Sequence[str], rounds: Sequence[Round]) -> list[Figure]:
    beside = {other: [one for one in rounds if f"{other}/{size}/rate" in one] for other in others}

    def rates(server: str, other: str) -> Rounds:
        return Rounds.of([one[f"{server}/{size}/rate"] for one in beside[other]])

    best = max(others, key=lambda other: rates(other, other).median, default=None)
    return [
        rates(own, other)
        .over(rates(other, other))
        .figure(
            f"peers/{own}/{size}/over {other}",
            "times its requests/s",
            COMMAND,
            goal if other == best else None,
        )
        for own, goal in GOALS.items()
        for other in others
    ]
