"""The figures of serving: a service that falls behind breaks its goal, and only its goal."""

from __future__ import annotations

import pytest

from benchmarks.serving_figures import SIDES, figures_of, footprint_figures

GOOD = {
    f"{side}/{name}": value
    for side in SIDES
    for name, value in {
        "100/rate": 95.0,
        "100/bare": 100.0,
        "200/rate": 50.0,
        "200/bare": 52.0,
        "tail/even/p50": 10.0,
        "tail/even/p99": 15.0,
        "tasks/1/rate": 90.0,
        "tasks/1/bare": 95.0,
        "tasks/2/rate": 80.0,
        "tasks/2/bare": 85.0,
    }.items()
} | {"int8/100/new users/rate": 91.0, "int8/100/new users/bare": 100.0}


def goals(measures: dict[str, float]) -> dict[str, bool]:
    figures = figures_of([measures, measures])
    return {figure.name: figure.holds for figure in figures if figure.holds is not None}


def test_what_is_quick_keeps_every_goal() -> None:
    assert set(goals(GOOD).values()) == {True}


@pytest.mark.parametrize(
    ("measure", "value", "broken"),
    [
        ("int8/100/rate", 80.0, "serving/int8/100/of the bare loop"),
        ("int8/100/new users/rate", 80.0, "serving/int8/100/new users/of the bare loop"),
        ("exact/tail/even/p99", 30.0, "serving/exact/tail/even/p99 over p50"),
        ("int8/tasks/2/bare", 60.0, "serving/int8/tasks/worst doubling/graphs alone"),
    ],
)
def test_what_falls_behind_breaks_its_goal_alone(measure: str, value: float, broken: str) -> None:
    found = goals(GOOD | {measure: value})
    assert [name for name, holds in found.items() if not holds] == [broken]


def test_memory_and_start_are_judged_on_the_tables_they_are_promised_for() -> None:
    measures = {
        "footprint/benchmark/start": 9.0,
        "footprint/table of 1 GiB/start": 9.0,
        "footprint/table of 100 MiB/further over first": 0.1,
    }
    assert [figure.holds for figure in footprint_figures([measures])] == [None, False, True]
