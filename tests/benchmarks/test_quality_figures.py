"""What records add up to."""

from __future__ import annotations

import pytest

from benchmarks.quality_figures import (
    Case,
    chosen_runs,
    chosen_trial,
    figures_of,
    graft_figures,
    pooled,
)
from benchmarks.quality_records import FitRecord, GraftRecord
from benchmarks.results import Figure
from tests.benchmarks.runs import PLAN, fit_record, graft_record


def by_key(*records: FitRecord | GraftRecord) -> dict[str, FitRecord | GraftRecord]:
    return {record.key: record for record in records}


def tried(model: str, auc: float, seeds: tuple[int, ...] = (0, 1)) -> list[FitRecord]:
    """A model whose second trial validation prefers, while the first has the better test AUC."""
    chosen = [fit_record(model, auc, trial=1, seed=seed, score=1.5) for seed in seeds]
    return [fit_record(model, 0.99, trial=0, score=1.4), *chosen]


def figures(*records: FitRecord | GraftRecord) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures_of(PLAN, by_key(*records), "make it")}


def test_validation_chooses_the_trial_never_the_test_rows() -> None:
    records = by_key(*tried("mmoe", 0.7))
    assert chosen_trial(PLAN, records, "kuairand", "mmoe") == 1
    assert [run.test["click"].auc for run in chosen_runs(PLAN, records, "kuairand")["mmoe"]] == [
        *(0.7, 0.7)
    ]


def test_no_trial_is_chosen_before_all_were_tried() -> None:
    records = by_key(fit_record("mmoe", 0.7, trial=0))
    assert chosen_trial(PLAN, records, "kuairand", "mmoe") is None
    assert figures_of(PLAN, records, "make it") == []


def test_a_model_ahead_by_more_than_chance_holds_its_claim() -> None:
    found = figures(*tried("mmoe", 0.70), *tried("stem", 0.72))
    claim = found["kuairand/stem/mean/auc ahead of mmoe"]
    assert claim.holds
    assert claim.value == pytest.approx(0.02)


def test_a_lead_within_the_interval_does_not_hold() -> None:
    seeds = [
        fit_record("stem", auc, trial=1, seed=s, score=1.5) for s, auc in ((0, 0.69), (1, 0.72))
    ]
    records = [*tried("mmoe", 0.70), fit_record("stem", 0.9, trial=0, score=1.4), *seeds]
    claim = figures(*records)["kuairand/stem/mean/auc ahead of mmoe"]
    assert claim.value == pytest.approx(0.005)
    assert claim.holds is False


def test_how_many_seeds_were_run_is_a_figure() -> None:
    found = figures(*tried("mmoe", 0.7, seeds=(0,)))
    assert found["kuairand/mmoe/all/seeds"].value == 1


@pytest.mark.parametrize(
    ("prompt", "seconds", "held"),
    [(0.799, 20.0, (True, True)), (0.797, 21.0, (False, False))],
)
def test_a_prompt_is_held_to_joint_retraining(
    prompt: float, seconds: float, held: tuple[bool, bool]
) -> None:
    case = Case(graft_record(prompt, seconds), "prompt (attention)", "x")
    found = {f.name.split("/")[-1]: f for f in graft_figures(case, [case.first])}
    assert (found["ahead"].holds, found["time"].holds) == held
    assert found["old"].holds


def test_seeds_that_disagree_widen_the_interval() -> None:
    alike = pooled([0.8, 0.8], [(0.79, 0.81), (0.79, 0.81)])
    apart = pooled([0.7, 0.9], [(0.79, 0.81), (0.79, 0.81)])
    assert alike == pytest.approx((0.79, 0.81))
    assert apart is not None
    assert apart[1] - apart[0] > 0.3
