"""The pages of train, tune and evaluate: the figures of the run, and nothing from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from commands.report.run_pages import backbone_page, evaluation_page, prompt_page
from tests.builders import trained
from tests.commands.report.reading import Reader, stands_alone
from training.checkpoint import Checkpoint
from training.compare import Comparison
from training.dataset import Prepared
from training.evaluate import Evaluation
from training.progress import EpochRecord
from training.report import BackboneReport, PromptReport, backbone_report, prompt_report
from training.tune import tune

HOSTILE = "<script>alert('\"&')</script>"


@dataclass(frozen=True)
class World:
    checkpoint: Checkpoint
    prepared: Prepared
    backbone: BackboneReport
    prompt: PromptReport


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    checkpoint, prepared = trained(tmp_path_factory.mktemp("tiny"))
    config = checkpoint.card.config
    task = next(task for task in config.tasks if task.name == "share")
    prompt = tune(checkpoint, prepared, task, config.tune).prompt
    return World(
        checkpoint,
        prepared,
        backbone_report(checkpoint, prepared),
        prompt_report(checkpoint, prompt, prepared),
    )


def test_the_result_is_that_of_the_card(world: World) -> None:
    page, card = Reader(backbone_page(world.backbone)), world.backbone.card
    for task, found in card.metrics["test"].items():
        assert found.auc_interval is not None
        low, high = found.auc_interval
        row = page.row("result", task)
        figures = (card.metrics["valid"][task].auc, found.auc, found.gauc, found.logloss)
        assert row[1] == str(found.rows)
        assert [*row[3:5], *row[7:9]] == [f"{value:.4f}" for value in figures]
        assert row[5] == f"{low:.4f} to {high:.4f}"


def test_the_curves_are_labelled_with_the_best_epoch(world: World) -> None:
    texts = Reader(backbone_page(world.backbone)).sections["learning"]
    best = max(record.epoch for record in world.backbone.card.history if record.best)
    record = world.backbone.card.history[best - 1]
    for task in world.backbone.card.tasks:
        assert f"{record.auc[task]:.4f}" in texts
        assert f"{record.losses[f'task:{task}']:.4f}" in texts


def test_the_gates_are_labelled_and_an_expert_that_is_not_heard_is_blank(world: World) -> None:
    (gate,) = world.backbone.gates
    page = Reader(backbone_page(world.backbone))
    own, _, shared = gate.weights[0].tolist()
    assert page.rows["gates"][0] == ["", "click", "like", "shared"]
    assert page.row("gates", "click") == ["click", f"{own:.3f}", "", f"{shared:.3f}"]


def test_the_data_are_counted_by_split_and_task(world: World) -> None:
    page, train = Reader(backbone_page(world.backbone)), world.prepared.train
    row = page.row("data", "train")
    positives = int(train.labels[:, train.tasks.index("like")].sum())
    assert row[1] == str(len(train))
    assert row[2] == str(len(set(train.users.tolist())))
    assert f"{positives} of {len(train)}" in row


def test_the_environments_of_the_last_epoch_are_told(world: World) -> None:
    texts = Reader(backbone_page(world.backbone)).sections["environments"]
    for rows in world.backbone.card.history[-1].environments:
        assert f"{rows} rows at the end" in texts


def test_the_run_can_be_told_by_seed_and_fingerprint(world: World) -> None:
    text, card = backbone_page(world.backbone), world.backbone.card
    assert card.fingerprint in text
    assert card.feature_schema.digest() in text
    assert "learning_rate" in text


def test_equal_reports_give_equal_pages(world: World) -> None:
    again = backbone_report(world.checkpoint, world.prepared)
    assert backbone_page(again) == backbone_page(world.backbone)


def test_a_run_without_a_history_is_reported_all_the_same(world: World) -> None:
    old = world.backbone.card.model_copy(update={"history": ()})
    page = Reader(backbone_page(replace(world.backbone, card=old)))
    assert "This run kept no history of its epochs." in page.sections["learning"]
    assert "environments" not in page.sections
    assert page.row("result", "click")


def test_an_epoch_without_an_auc_leaves_a_gap(world: World) -> None:
    record = world.backbone.card.history[0]
    blind = replace(record, auc={"click": None, "like": 0.5})
    card = world.backbone.card.model_copy(update={"history": (blind, record, blind, record)})
    text = backbone_page(replace(world.backbone, card=card))
    assert text.count("polyline") > 0
    assert "nan" not in text.lower().replace("financ", "")


def test_whatever_is_named_is_escaped(world: World) -> None:
    card = world.backbone.card
    tasks = tuple(task.model_copy(update={"label": HOSTILE}) for task in card.config.tasks)
    data = card.config.data.model_copy(update={"log": HOSTILE})
    config = card.config.model_copy(update={"tasks": tasks, "data": data})
    record = EpochRecord(1, 1.0, 1.0, {"total": 1.0}, {HOSTILE: 0.5}, 0.5, best=True)
    hostile = card.model_copy(
        update={"config": config, "tasks": (HOSTILE,), "history": (record,)},
    )
    text = backbone_page(replace(world.backbone, card=hostile))
    page = Reader(text)
    assert "script" not in page.tags
    assert any(HOSTILE in row for row in page.rows["data"])
    assert stands_alone(text)


def test_a_prompt_tells_whom_it_hears_and_what_it_reached(world: World) -> None:
    text, report = prompt_page(world.prompt), world.prompt
    page = Reader(text)
    found = report.card.metrics["test"]
    assert page.row("result", "share")[4] == f"{found.auc:.4f}"
    assert sum(report.attention.sources.values()) == pytest.approx(1.0)
    for task, weight in report.attention.sources.items():
        at = page.sections["attention"].index(task)
        assert page.sections["attention"][at + 1] == f"{weight:.4f}"
    assert report.card.parent in text
    assert "ways" not in page.sections


def test_the_other_ways_stand_beside_the_prompt(world: World) -> None:
    found = world.prompt.card.metrics["test"]
    ways = [
        Comparison("prompt", found, 12, 1.0, 0.9, (-0.01, 0.02), {}),
        Comparison("joint", found, 3456, 2.0, 1.9, None, {}),
    ]
    page = Reader(prompt_page(world.prompt, ways))
    assert "-0.0100 to +0.0200" in page.row("ways", "prompt")
    assert "3,456" in page.row("ways", "joint")


def test_every_page_stands_alone(world: World) -> None:
    metrics = world.backbone.card.metrics["test"]
    evaluation = Evaluation(metrics, world.backbone.reliability)
    pages = [
        backbone_page(world.backbone),
        prompt_page(world.prompt),
        evaluation_page("tiny", {"bundle": "ab12"}, "test", evaluation),
    ]
    assert all(stands_alone(text) for text in pages)


def test_an_evaluation_without_bins_leaves_calibration_out(world: World) -> None:
    metrics = world.backbone.card.metrics["valid"]
    page = Reader(evaluation_page("tiny", {}, "valid", Evaluation(metrics, {})))
    assert "calibration" not in page.sections
    assert page.row("result", "like")
