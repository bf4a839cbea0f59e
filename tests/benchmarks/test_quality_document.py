"""The page says what the figures say."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quality_document import _promises, number, page, write_document
from benchmarks.quality_figures import figures_of, notes_of
from benchmarks.quality_records import FitRecord, GraftRecord
from benchmarks.results import Figure, Results
from tests.benchmarks.runs import PLAN, fit_record, graft_record


def results(*models: str) -> Results:
    fits = [fit_record(model, 0.7, trial=trial) for model in models for trial in (0, 1)]
    made: list[FitRecord | GraftRecord] = [*fits, graft_record(0.79, 10.0)]
    records = {record.key: record for record in made}
    return Results(
        machine={"cores": 2},
        figures=tuple(figures_of(PLAN, records, "make bench-quality")),
        notes=notes_of(PLAN, records),
    )


def test_a_goal_that_is_missed_is_said_to_be_missed() -> None:
    lines = page(results("mmoe")).splitlines()
    row = next(line for line in lines if "prompt (attention) · ahead" in line)
    assert "**does not hold**" in row
    row = next(line for line in lines if "prompt (attention) · time" in line)
    assert row.endswith("| holds |")


def test_a_goal_that_is_missed_by_little_does_not_look_reached() -> None:
    missed = Figure(
        name="census/best/auc", value=0.994992, unit="AUC", spread=(0.9946, 0.9954),
        goal=">= 0.9950", holds=False, command="x",
    )  # fmt: skip
    assert "| 0.994992 [0.9946, 0.9954] |" in _promises([missed])


def test_a_model_with_few_seeds_is_named() -> None:
    assert "Fewer than 3 seeds were run for: mmoe, stem." in page(results("mmoe", "stem"))


def test_every_model_stands_in_its_table_once() -> None:
    text = page(results("mmoe", "stem"))
    assert text.count("\n| stem | 0.7000 [") == 1


def test_models_without_a_finished_run_are_named() -> None:
    assert "so not in the tables: ple, stem." in page(results("mmoe"))


def test_who_is_ahead_of_both_references_is_said_in_words() -> None:
    text = page(results("mmoe", "ple", "stem"))
    assert "ahead of both outside the interval: **None of them**." in text
    assert "takes at most a fifth of joint retraining's time in 1 of 1 cases." in text


def test_chosen_settings_are_told() -> None:
    assert "mmoe: learning rate 0.001, table L2 0" in page(results("mmoe"))


def test_a_page_without_results_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run the benchmark that writes it"):
        write_document(tmp_path, tmp_path / "page.md")


def test_training_speed_joins_the_promises() -> None:
    fast = Figure(
        name="training/mmoe/faster", value=2.0, unit="times", goal=">= 3", holds=False, command="x"
    )
    text = page(results("mmoe"), Results(machine={}, figures=(fast,)))
    assert "| training · mmoe · faster | 2.0000 | times | >= 3 | **does not hold** |" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.71234, "0.7123"), (-0.0021, "-0.0021"), (27063.0, "27,063")]
)
def test_numbers_keep_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text
