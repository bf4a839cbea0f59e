"""Rounds of rates to figures: each server's, and how many times the best peer's taskgraft's are.

    "fastapi/100" -> requests/s, once per round --figures_of--> rates, ratios with goals

The best peer is the one with the highest median at that size; a peer that failed in some round is
not among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.results import Figure
from benchmarks.rounds import Goal, Rounds

COMMAND = "make bench-peers"
GOALS = {"taskgraft int8": Goal(">=", 4.0), "taskgraft exact": Goal(">=", 1.8)}


def figures_of(rounds: Sequence[Mapping[str, float]]) -> list[Figure]:
    everywhere = [name for name in rounds[0] if all(name in one for one in rounds)]
    rates = {name: Rounds.of([one[name] for one in rounds]) for name in everywhere}
    figures = [rates[name].figure(f"peers/{name}/rate", "requests/s", COMMAND) for name in rates]
    for size in sorted({int(name.split("/")[1]) for name in rates}):
        others = [n for n in rates if n.endswith(f"/{size}") and n.split("/")[0] not in GOALS]
        if not others:
            continue
        best = max(others, key=lambda name: rates[name].median)
        for own, goal in GOALS.items():
            for other in others:
                ratio = rates[f"{own}/{size}"].over(rates[other])
                name = f"peers/{own}/{size}/over {other.split('/')[0]}"
                judged = goal if other == best else None
                figures.append(ratio.figure(name, "times its requests/s", COMMAND, judged))
    return figures
