"""Charts: values at their places, texts escaped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commands.report.charts import curve, reliability, whiskers
from commands.report.flow import Box, flow
from commands.report.page import beside, flat, share, size
from commands.report.scale import Scale
from training.metrics import Bin


def points(chart: str) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.split())]
        for line in re.findall(r'points="([^"]*)"', chart)
    ]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.781, 0.803], [0.78, 0.79, 0.80, 0.81]),
        ([0.0, 1.0], [0.0, 0.5, 1.0]),
        ([3.0, 110.0], [0.0, 50.0, 100.0, 150.0]),
        ([0.5], [0.49, 0.5, 0.51]),
    ],
)
def test_a_scale_holds_its_values_between_round_ticks(
    values: list[float], ticks: list[float]
) -> None:
    assert list(Scale.around(values).ticks) == pytest.approx(ticks)


@pytest.mark.parametrize(("low", "high"), [(0.781, 0.803), (1e-6, 3e-6), (-2.0, 7.0), (0.1, 0.35)])
def test_the_labels_of_ticks_differ(low: float, high: float) -> None:
    scale = Scale.around([low, high])
    labels = [scale.label(tick) for tick in scale.ticks]
    assert len(set(labels)) == len(labels)
    assert [float(label) for label in labels] == pytest.approx(list(scale.ticks))
    assert scale.low <= low
    assert high <= scale.high


def test_higher_values_stand_higher_and_later_ones_further_right() -> None:
    ((first, second, third),) = points(curve([0.5, 0.7, 0.6], 2, "x"))
    assert first[0] < second[0] < third[0]
    assert second[1] < third[1] < first[1]


def test_a_gap_breaks_the_curve() -> None:
    assert [len(line) for line in points(curve([0.5, 0.6, None, 0.7, 0.8], 5, "x"))] == [2, 2]


@pytest.mark.parametrize("values", [[], [None, None]])
def test_no_values_are_said_to_be_none(values: list[float | None]) -> None:
    assert "no value" in curve(values, None, "x")


def test_what_a_chart_is_about_is_escaped() -> None:
    hostile = '"><script>'
    charts = [
        curve([0.5], None, hostile),
        whiskers(0.5, (0.4, 0.6), Scale.around([0.4, 0.6]), hostile),
        reliability([Bin(3, 0.5, 0.5, (0.1, 0.9))], hostile),
        flow([[Box(hostile, (hostile,))]], hostile),
    ]
    assert not any("<script" in chart for chart in charts)


def test_a_bin_that_came_true_more_often_stands_above_the_diagonal() -> None:
    chart = reliability([Bin(5, 0.5, 1.0, (0.6, 1.0)), Bin(5, 0.9, 0.1, (0.0, 0.4))], "x")
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart)
    (x1, y1), (x2, y2) = ((float(x), float(y)) for x, y in dots)
    assert x1 < x2
    assert y1 < y2
    assert "5 rows: predicted 0.5000, came true 1.0000" in chart


def test_every_box_feeds_every_box_of_the_next_column() -> None:
    boxes = [Box(name, ()) for name in "abcde"]
    assert flow([boxes[:1], boxes[1:3], boxes[3:]], "x").count("<path") == 2 + 4


def test_settings_are_flat_and_plain() -> None:
    settings = {"gan": {"weight": 0.5, "deep": {"units": [1, 2]}}, "name": "x", "off": None}
    expected = {"gan.weight": "0.5", "gan.deep.units": "[1, 2]", "name": "x", "off": "null"}
    assert flat(settings) == expected


def test_sizes_and_shares_are_short() -> None:
    assert [size(n) for n in (12, 9_999, 12_345, 4_500_000)] == [
        "12 B", "9,999 B", "12.3 kB", "4.5 MB",
    ]  # fmt: skip
    assert (share(1, 8), share(0, 0)) == ("12.5%", "-")


def test_a_report_stands_beside_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert beside(Path("runs/x/backbone"), "-test") == Path("runs/x/backbone-test.html")
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    assert beside(Path()) == tmp_path / "run.html"
