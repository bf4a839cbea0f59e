"""Rounds of measures to the figures that serving promises.

    measures of each round --figures_of--> Figures, those with goals judged by their medians

Goals: as quick as the bare graphs but a tenth, for users who return and for new ones; a tail of
twice the middle; 32 tasks in twice the time of one, and half as much again at most where tasks
double; a cost that is a line in candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.results import Figure
from benchmarks.rounds import Goal, Rounds, line, worst_doubling

COMMAND = "make bench"
SIDES = ("int8", "exact")
OVERHEAD, TAIL, MANY = Goal(">=", 0.9), Goal("<=", 2.0), Goal("<=", 2.0)
DOUBLING, STRAIGHT = Goal("<=", 1.5), Goal("<=", 0.25)
WORKER, START = Goal("<=", 0.15), Goal("<=", 2.0)
JUDGED_SIZE = 100
_FOOTPRINTS = {
    "start": "s",
    "first worker": "MiB",
    "further worker": "MiB",
    "further over first": "of the first",
}
# What is promised of start and of memory is promised of such a table.
_FOOTPRINT_GOALS = {
    "footprint/table of 1 GiB/start": START,
    "footprint/table of 100 MiB/further over first": WORKER,
}
_UNITS = {"rate": "requests/s", "bare": "calls/s", "p50": "ms", "p99": "ms"}


def figures_of(rounds: Sequence[Mapping[str, float]]) -> list[Figure]:
    """Every measure, then what follows from several."""
    measures = {name: Rounds.of([r[name] for r in rounds]) for name in rounds[0]}
    figures = [measures[name].figure(f"serving/{name}", _unit(name), COMMAND) for name in measures]
    for side in SIDES:
        figures += _overheads(side, measures)
        figures += _tails(side, measures)
        figures += _growth(side, measures)
    return figures


def footprint_figures(rounds: Sequence[Mapping[str, float]]) -> list[Figure]:
    """What footprint measured."""
    return [
        Rounds.of([r[name] for r in rounds]).figure(
            f"serving/{name}",
            _FOOTPRINTS[name.split("/")[-1]],
            COMMAND,
            _FOOTPRINT_GOALS.get(name),
        )
        for name in rounds[0]
    ]


def _unit(name: str) -> str:
    kind, last = name.split("/")[-2:]
    return "µs" if kind == "stage" else _UNITS[last]


def _overheads(side: str, measures: Mapping[str, Rounds]) -> Iterator[Figure]:
    asked = {f"{side}/{size}": size for size in _sizes(side, measures)}
    if f"{side}/{JUDGED_SIZE}/new users/bare" in measures:
        asked[f"{side}/{JUDGED_SIZE}/new users"] = JUDGED_SIZE
    for name, size in asked.items():
        ratio = measures[f"{name}/rate"].over(measures[f"{name}/bare"])
        goal = OVERHEAD if size == JUDGED_SIZE else None
        told = f"serving/{name}/of the bare loop"
        yield ratio.figure(told, "times the bare loop's rate", COMMAND, goal)


def _tails(side: str, measures: Mapping[str, Rounds]) -> Iterator[Figure]:
    for way in ("even", "poisson", "grafting", "graphs alone"):
        name = f"{side}/tail/{way}"
        if f"{name}/p99" in measures:
            ratio = measures[f"{name}/p99"].over(measures[f"{name}/p50"])
            goal = TAIL if way in {"even", "grafting"} else None
            yield ratio.figure(f"serving/{name}/p99 over p50", "times", COMMAND, goal)


def _growth(side: str, measures: Mapping[str, Rounds]) -> Iterator[Figure]:
    """Growth in tasks and candidates, over HTTP and of the graphs alone."""
    counts = sorted({int(n.split("/")[2]) for n in measures if n.startswith(f"{side}/tasks/")})
    for way in ("rate", "bare"):
        who = "over HTTP" if way == "rate" else "graphs alone"
        if len(counts) > 1:
            one, many = (measures[f"{side}/tasks/{n}/{way}"] for n in (counts[0], counts[-1]))
            name = f"serving/{side}/tasks/{counts[-1]} over {counts[0]}/{who}"
            yield one.over(many).figure(name, "times the time", COMMAND, MANY)
            costs = [1 / measures[f"{side}/tasks/{n}/{way}"].median for n in counts]
            worst = Rounds.of([worst_doubling(counts, costs)])
            name = f"serving/{side}/tasks/worst doubling/{who}"
            yield worst.figure(name, "times the time", COMMAND, DOUBLING)
        sizes = _sizes(side, measures)
        if len(sizes) > 1:
            found = line(sizes, [1 / measures[f"{side}/{n}/{way}"].median for n in sizes])
            name = f"serving/{side}/candidates"
            micro = 1e6
            for part, value, unit, goal in (
                ("fixed", found.fixed * micro, "µs a request", None),
                ("each", found.each * micro, "µs a candidate", None),
                ("off the line", found.worst, "of the cost, at worst", STRAIGHT),
            ):
                yield Rounds.of([value]).figure(f"{name}/{part}/{who}", unit, COMMAND, goal)


def _sizes(side: str, measures: Mapping[str, Rounds]) -> list[int]:
    found = [name.split("/") for name in measures]
    return sorted(
        int(parts[1])
        for parts in found
        if len(parts) == 3 and parts[0] == side and parts[2] == "bare"  # noqa: PLR2004
    )
