"""The runner: every step on made-up data, and what a second run does."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quality import Place, main, publish, records_of
from benchmarks.quality_plan import ROOT, Cell, read_plan
from benchmarks.quality_records import append, read_records
from benchmarks.results import Figure, read_results, write_results
from tests.benchmarks.runs import fit_record


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished quick run."""
    runs = tmp_path_factory.mktemp("runs")
    assert main(["--quick", "--runs", str(runs), "--workers", "1"]) == 0
    return runs / "quick"


def test_a_quick_run_goes_from_data_to_the_page(quick: Path) -> None:
    names = {figure.name for figure in read_results("quality", quick).figures}
    assert {"shop/mmoe/mean/auc", "shop/mptrec/click/gauc", "shop/mmoe/all/parameters"} <= names
    assert "graft/shop/mptrec/buy/prompt (attention)/ahead" in names
    assert "## New task: buy, on mptrec (shop)" in (quick / "QUALITY.md").read_text()


def test_every_job_leaves_one_record(quick: Path) -> None:
    lines = (quick / "records.jsonl").read_text().splitlines()
    # Two models, two trials on the first seed and one on the second, and a graft per seed.
    assert len(lines) == 2 * 3 + 2
    assert len({record.key for record in read_records(quick / "records.jsonl")}) == len(lines)


def test_a_graft_moves_no_old_task(quick: Path) -> None:
    figures = read_results("quality", quick).figures
    old = [f for f in figures if f.name.endswith("prompt (attention)/old")]
    assert [f.value for f in old] == [0.0]


def test_a_second_run_repeats_nothing(quick: Path) -> None:
    before = (quick / "records.jsonl").read_bytes()
    assert main(["--quick", "--runs", str(quick.parent), "--workers", "1"]) == 0
    assert (quick / "records.jsonl").read_bytes() == before


def test_a_data_set_that_is_not_run_keeps_its_figures(quick: Path, tmp_path: Path) -> None:
    before = read_results("quality", quick)
    shop = read_plan(ROOT / "benchmarks" / "quick.toml").data["shop"]
    plan = read_plan(ROOT / "benchmarks" / "quick.toml").model_copy(
        update={"data": {"shop": shop, "stall": shop}}
    )
    place = Place(tmp_path, quick / "records.jsonl", {}, tmp_path, tmp_path / "QUALITY.md")
    old = Figure(name="graft/stall/mmoe/buy/joint/auc", value=0.5, unit="AUC", command="x")
    gone = old.model_copy(update={"name": "market/mmoe/click/auc"})
    stale = old.model_copy(update={"name": "shop/mmoe/click/recall"})
    told = {"stall/mmoe": "as it was", "shop/mmoe": "as it was"}
    write_results("quality", before.machine, [gone, stale, old], told, tmp_path)
    publish(plan, place)
    after = read_results("quality", tmp_path)
    assert after.figures == (*before.figures, old)
    assert after.notes == {**before.notes, "stall/mmoe": "as it was"}


def test_records_of_other_settings_do_not_count(tmp_path: Path) -> None:
    plan = read_plan(ROOT / "benchmarks" / "quick.toml")
    place = Place(tmp_path / "quick.toml", tmp_path / "records.jsonl", {}, tmp_path, tmp_path)
    cell = plan.cells("shop")[0]
    record = fit_record("mmoe", 0.7).model_copy(update={"data": "shop"})
    append(place.records, record.model_copy(update={"digest": plan.digest(cell, 0, 0)}))
    append(place.records, record)  # made later, by another plan
    assert list(records_of(plan, place)) == ["fit/shop/mmoe/0/0"]
    longer = plan.data["shop"].model_copy(update={"fit": {"batch_size": 256, "epochs": 3}})
    assert not records_of(plan.model_copy(update={"data": {"shop": longer}}), place)
    retuned = plan.data["shop"].model_copy(update={"tune": {"epochs": 3}})
    assert records_of(plan.model_copy(update={"data": {"shop": retuned}}), place)


def test_a_record_of_a_trial_that_the_plan_lacks_does_not_count(tmp_path: Path) -> None:
    plan = read_plan(ROOT / "benchmarks" / "quick.toml")
    place = Place(tmp_path / "quick.toml", tmp_path / "records.jsonl", {}, tmp_path, tmp_path)
    record = fit_record("mmoe", 0.7).model_copy(update={"data": "shop", "trial": len(plan.trials)})
    append(place.records, record)
    assert not records_of(plan, place)


def test_a_damaged_last_line_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append(path, fit_record("mmoe", 0.7))
    with path.open("a") as file:
        file.write('{"kind": "fit", "data": "kuai')
    assert [record.key for record in read_records(path)] == ["fit/kuairand/mmoe/0/0"]


def test_the_plan_gives_every_model_of_the_field_the_same_sizes() -> None:
    plan = read_plan(ROOT / "benchmarks" / "quality.toml")
    cells = plan.cells("kuairand")
    assert len(cells) == len(plan.models) == 12
    configs = [plan.config(cell, 0, 0) for cell in cells]
    assert {config.model.embedding_dim for config in configs} == {8}
    assert {config.fit.batch_size for config in configs} == {1024}


def test_a_grafted_task_is_kept_from_the_backbone() -> None:
    plan = read_plan(ROOT / "benchmarks" / "quality.toml")
    data, old = "kuairand_graft", ("click", "long_view", "finish")
    assert Cell(data, "mptrec", old, "like") in plan.grafts(data)
    config = plan.config(plan.grafts(data)[0], 0, 7)
    assert {task.name for task in config.tasks if task.new} == {"like"}
    assert (config.fit.seed, config.tune.seed) == (7, 7)


def test_census_is_compared_without_the_survey_weight_and_grafted_with_it() -> None:
    plan = read_plan(ROOT / "benchmarks" / "quality.toml")
    compared = {f.name for f in plan.config(plan.cells("census")[0], 0, 0).features}
    grafted = {f.name for f in plan.config(plan.cells("census_graft")[0], 0, 0).features}
    assert "education" in compared - grafted
    assert "instance_weight" in grafted - compared
