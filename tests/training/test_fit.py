from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.synthetic import OLD, Fitted, prepared_world, synthetic_config
from training.checkpoint import read_checkpoint
from training.epoch import drop_histories, epoch_order
from training.errors import CheckpointError, ConfigError, TrainingError
from training.evaluate import evaluate
from training.fit import fit
from training.progress import EpochRecord, Silent

SMALL = 1500


class Killed(Exception):
    pass


class KillAt(Silent):
    """Ends a run at one of its steps, as a lost machine would."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, loss: float) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


class Listener(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.records: list[EpochRecord] = []

    def epoch(self, record: EpochRecord) -> None:
        self.records.append(record)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def untimed(records: tuple[EpochRecord, ...]) -> list[EpochRecord]:
    return [replace(record, seconds=0.0, rows_per_s=0.0) for record in records]


@pytest.mark.parametrize(("noise", "distance"), [(0.2, 0.04), (0.6, 0.05), (1.5, 0.06)])
def test_every_task_comes_close_to_the_best_possible_auc_at_any_noise(
    tmp_path: Path, noise: float, distance: float
) -> None:
    config = synthetic_config()
    world, prepared = prepared_world(tmp_path, config, noise=noise)
    result = fit(config, prepared, run_dir=tmp_path / "run")
    for task, metrics in result.checkpoint.card.metrics["test"].items():
        assert metrics.auc is not None
        assert world.bayes[task] - distance < metrics.auc < world.bayes[task] + 0.05


def test_tables_are_held_back_by_what_the_training_rows_say(tmp_path: Path) -> None:
    plain = synthetic_config(fit={"epochs": 1})
    _, prepared = prepared_world(tmp_path, plain)
    number = plain.fit.for_rows(len(prepared.train)).l2_embedding
    stated = synthetic_config(fit={"epochs": 1, "l2_embedding": number})
    found = [
        fit(config, prepared, run_dir=tmp_path / str(at)).checkpoint.card.history
        for at, config in enumerate((plain, stated))
    ]
    assert untimed(found[0]) == untimed(found[1])
    assert found[0][0].losses["l2"] > 0


def test_only_tasks_that_are_not_new_are_trained(fitted: Fitted) -> None:
    assert fitted.result.checkpoint.card.tasks == OLD
    assert set(fitted.result.checkpoint.card.metrics["valid"]) == set(OLD)


def test_the_weights_of_the_best_epoch_are_kept(fitted: Fitted) -> None:
    card = fitted.result.checkpoint.card
    best = max(card.history, key=lambda record: record.score)
    assert best.epoch == fitted.result.best_epoch
    kept = sum(metrics.auc or 0.0 for metrics in card.metrics["valid"].values())
    assert kept == pytest.approx(best.score, abs=1e-12)
    again = evaluate(fitted.result.checkpoint.model, fitted.prepared.valid, OLD)
    assert {task: m.auc for task, m in again.items()} == best.auc


def test_with_an_average_its_weights_are_judged_and_kept(tmp_path: Path) -> None:
    config = synthetic_config(fit={"epochs": 2, "average": 0.9})
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    plain = config.model_copy(update={"fit": config.fit.model_copy(update={"average": 0.0})})
    ours = fit(config, prepared, run_dir=tmp_path / "average").checkpoint
    theirs = fit(plain, prepared, run_dir=tmp_path / "plain").checkpoint
    # Steps are taken by the weights themselves, so losses are the same to the last bit.
    assert [r.losses for r in ours.card.history] == [r.losses for r in theirs.card.history]
    assert not torch.equal(ours.model.table, theirs.model.table)
    best = max(ours.card.history, key=lambda record: record.score)
    again = evaluate(ours.model, prepared.valid, OLD)
    assert {task: m.auc for task, m in again.items()} == best.auc


@pytest.mark.parametrize("killed_at", [3, 11])  # steps; an epoch of 1500 rows has 5
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, killed_at: int) -> None:
    config = synthetic_config(
        model={"dropout": [0.1, 0.1], "gan": {"env_interval": 1}},
        fit={"epochs": 4, "history_dropout": 0.3, "average": 0.9},
    )
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    whole = fit(config, prepared, run_dir=tmp_path / "whole").checkpoint.card
    with pytest.raises(Killed):
        fit(config, prepared, run_dir=tmp_path / "run", progress=KillAt(killed_at))
    torch.rand(7)  # whatever the new process drew before
    resumed = fit(config, prepared, run_dir=tmp_path / "run", resume=True).checkpoint.card
    assert resumed.fingerprint == whole.fingerprint
    assert untimed(resumed.history) == untimed(whole.history)
    assert resumed.metrics == whole.metrics


def test_a_run_of_another_configuration_is_not_resumed(tmp_path: Path) -> None:
    config = synthetic_config(fit={"epochs": 1})
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    fit(config, prepared, run_dir=tmp_path / "run")
    other = synthetic_config(fit={"epochs": 1, "learning_rate": 0.02})
    with pytest.raises(CheckpointError, match="another configuration"):
        fit(other, prepared, run_dir=tmp_path / "run", resume=True)


def test_a_damaged_state_says_how_to_go_on(tmp_path: Path) -> None:
    config = synthetic_config(fit={"epochs": 1})
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.safetensors").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="remove it to train from the start"):
        fit(config, prepared, run_dir=tmp_path / "run", resume=True)


def test_the_seed_decides_every_bit_and_leaves_the_callers_stream_alone(tmp_path: Path) -> None:
    config = synthetic_config(fit={"epochs": 1}, model={"dropout": [0.2, 0.2]})
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    torch.manual_seed(123)
    expected = torch.rand(3)
    prints = []
    for run, seed in enumerate((0, 0, 1)):
        torch.manual_seed(123)
        seeded = config.model_copy(update={"fit": config.fit.model_copy(update={"seed": seed})})
        result = fit(seeded, prepared, run_dir=tmp_path / f"run{run}")
        prints.append(result.checkpoint.card.fingerprint)
        assert torch.equal(torch.rand(3), expected)
    assert prints[0] == prints[1] != prints[2]


def test_a_run_stops_when_patience_is_over(tmp_path: Path) -> None:
    config = synthetic_config(fit={"epochs": 30, "patience": 2, "learning_rate": 0.05})
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    result = fit(config, prepared, run_dir=tmp_path / "run")
    assert result.epochs == min(result.best_epoch + 2, 30)
    assert result.epochs < 30


def test_stopping_may_watch_one_task_instead_of_the_sum(tmp_path: Path) -> None:
    config = synthetic_config(fit={"epochs": 2, "early_stop": "like"})
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    result = fit(config, prepared, run_dir=tmp_path / "run")
    for record in result.checkpoint.card.history:
        assert record.score == record.auc["like"]


def test_stopping_on_an_unknown_task_names_the_known_ones(tmp_path: Path) -> None:
    config = synthetic_config(fit={"early_stop": "lkie"})
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    with pytest.raises(ConfigError, match=r"'lkie'; expected 'sum' or one of .*'like'"):
        fit(config, prepared, run_dir=tmp_path / "run")


def test_environments_start_random_and_move_every_interval(tmp_path: Path) -> None:
    config = synthetic_config(fit={"epochs": 4}, model={"gan": {"env_interval": 2}})
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    result = fit(config, prepared, run_dir=tmp_path / "run")
    rows = len(prepared.train)
    first, second, third, fourth = (r.environments for r in result.checkpoint.card.history)
    assert sum(first) == sum(fourth) == rows
    assert first[0] == pytest.approx(rows / 2, rel=0.1)
    assert first != second
    assert second == third != fourth
    for record in result.checkpoint.card.history:  # both games are on
        assert record.losses["shared"] > 0
        assert record.losses["environment"] > 0


def test_environments_that_fall_to_one_task_are_warned_of(tmp_path: Path) -> None:
    config = synthetic_config(
        tasks=[
            {"name": "click", "label": "click"},
            {"name": "rare", "label": "CASE WHEN item = 3 AND click = 1 THEN 1 ELSE 0 END"},
        ],
        fit={"epochs": 4},
        model={"gan": {"env_interval": 1}},
    )
    _, prepared = prepared_world(tmp_path, config, noise=3.0)
    listener = Listener()
    fit(config, prepared, run_dir=tmp_path / "run", progress=listener)
    assert any("env_normalise = 'rank'" in warning for warning in listener.warnings)


def test_without_the_game_there_are_no_environments(tmp_path: Path) -> None:
    config = synthetic_config(
        fit={"epochs": 1}, model={"gan": {"shared_weight": 0.0, "environment_weight": 0.0}}
    )
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    record = fit(config, prepared, run_dir=tmp_path / "run").checkpoint.card.history[0]
    assert record.environments == ()
    assert record.losses["environment"] == record.losses["shared"] == 0.0


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(tmp_path: Path) -> None:
    config = synthetic_config(fit={"learning_rate": 1e30})
    _, prepared = prepared_world(tmp_path, config, rows=SMALL)
    with pytest.raises(TrainingError, match=r"lower fit\.learning_rate"):
        fit(config, prepared, run_dir=tmp_path / "run")


def test_gradients_are_clipped_to_the_norm(tmp_path: Path) -> None:
    last = []
    for run, clip in enumerate((None, 1e-12)):  # far below Adam's epsilon: steps shrink with it
        config = synthetic_config(fit={"epochs": 3, "batch_size": 64, "clip_norm": clip})
        _, prepared = prepared_world(tmp_path, config, rows=SMALL)
        history = fit(config, prepared, run_dir=tmp_path / f"run{run}").checkpoint.card.history
        last.append(history[-1].losses["task:click"] - history[0].losses["task:click"])
    assert last[0] < -0.05
    assert abs(last[1]) < 0.005


def test_rows_of_one_request_stay_together_in_request_order(fitted: Fitted) -> None:
    train = fitted.prepared.train
    config = fitted.config.fit.model_copy(update={"shuffle": "requests"})
    generator = torch.Generator().manual_seed(0)
    order = epoch_order(train, config, generator)
    assert torch.equal(order.sort().values, torch.arange(len(train)))
    requests = torch.unique_consecutive(train.requests[order])
    assert len(requests) == len(requests.unique())
    assert not torch.equal(order, epoch_order(train, config, generator))


def test_history_dropout_takes_whole_histories_and_nothing_else(fitted: Fitted) -> None:
    batch = fitted.prepared.train.batch(torch.arange(2000), OLD)
    history = batch.inputs.history
    had = history.flatten(1).any(1)
    kept = drop_histories(batch, 0.25, torch.Generator().manual_seed(0)).inputs
    gone = had & ~kept.history.flatten(1).any(1)
    assert 0.2 < float(gone.sum() / had.sum()) < 0.3
    assert torch.equal(kept.history[~gone], history[~gone])
    assert torch.equal(kept.user_ids, batch.inputs.user_ids)


def test_a_model_trained_with_history_dropout_stays_calibrated_without_histories(
    tmp_path: Path,
) -> None:
    """Beside the group, only the history tells users apart: without it scores must fall back."""
    errors = {}
    for rate in (0.0, 0.4):
        config = synthetic_config(fit={"epochs": 4, "history_dropout": rate})
        _, prepared = prepared_world(tmp_path, config)
        result = fit(config, prepared, run_dir=tmp_path / f"run{rate}")
        model = result.checkpoint.model
        batch = prepared.test.batch(torch.arange(len(prepared.test)), OLD)
        blank = drop_histories(batch, 1.0, torch.Generator())
        with torch.no_grad():
            predicted = model(blank.inputs).logits.sigmoid().mean(0)
        errors[rate] = float((predicted - batch.labels.mean(0)).abs().max())
    assert errors[0.4] < 0.08


def test_a_finished_run_is_read_back_from_its_folder(fitted: Fitted) -> None:
    again = read_checkpoint(fitted.result.path)
    assert again.card == fitted.result.checkpoint.card
