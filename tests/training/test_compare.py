from pathlib import Path

import pytest

from tests.training.synthetic import NEW, OLD, Fitted, prepared_world, synthetic_config
from training.compare import Comparison, compare
from training.fit import fit


@pytest.fixture(scope="module")
def found(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Comparison]:
    run_dir: Path = tmp_path_factory.mktemp("compare")
    comparisons = compare(
        fitted.result.checkpoint,
        fitted.config,
        fitted.prepared,
        fitted.new_task,
        run_dir=run_dir,
    )
    return {comparison.way: comparison for comparison in comparisons}


def test_every_way_is_run_and_learns(fitted: Fitted, found: dict[str, Comparison]) -> None:
    prompts = [f"prompt ({fusion})" for fusion in ("attention", "uniform", "similarity")]
    assert list(found) == ["joint", "single", "head", *prompts]
    for way, comparison in found.items():
        assert comparison.metrics.auc is not None
        assert comparison.metrics.auc > fitted.world.bayes[NEW] - 0.12, way
        assert comparison.metrics.auc_interval is not None


def test_frozen_ways_leave_the_old_tasks_exactly_alone(found: dict[str, Comparison]) -> None:
    for way, comparison in found.items():
        if way not in ("joint", "single"):
            assert comparison.old_tasks == dict.fromkeys(OLD, 0.0), way


def test_a_joint_run_moves_the_old_tasks(found: dict[str, Comparison]) -> None:
    assert all(change != 0.0 for change in found["joint"].old_tasks.values())
    assert set(found["joint"].old_tasks) == set(OLD)
    assert found["single"].old_tasks == {}


def test_differences_are_taken_against_the_joint_run(found: dict[str, Comparison]) -> None:
    joint = found.pop("joint")
    assert joint.against_joint is None
    for comparison in found.values():
        assert comparison.against_joint is not None
        low, high = comparison.against_joint
        assert joint.metrics.auc is not None
        assert comparison.metrics.auc is not None
        assert low - 0.01 < comparison.metrics.auc - joint.metrics.auc < high + 0.01
    found["joint"] = joint


def test_a_prompt_trains_fewer_parameters_than_a_joint_run(found: dict[str, Comparison]) -> None:
    assert found["head"].parameters < found["prompt (attention)"].parameters
    assert found["prompt (attention)"].parameters < 0.5 * found["joint"].parameters


def test_a_dtrn_backbone_is_compared_with_the_prompt_that_conditions_it(tmp_path: Path) -> None:
    config = synthetic_config(
        model={
            "bottom": "dtrn",
            "mixer": "mmoe",
            "shared_experts": 2,
            "gate_units": [],
            "dtrn": {"width": 6, "condition_width": 3, "hyper_width": 5},
        },
        fit={"epochs": 1, "batch_size": 128},
        tune={"epochs": 1, "batch_size": 128},
    )
    _, prepared = prepared_world(tmp_path, config, rows=1500)
    backbone = fit(config, prepared, run_dir=tmp_path / "run").checkpoint
    task = next(task for task in config.tasks if task.new)
    ways = compare(backbone, config, prepared, task, run_dir=tmp_path / "ways")
    *_, plain, conditioned = ways
    assert (plain.way, conditioned.way) == ("prompt (similarity)", "prompt (dtrn)")
    assert conditioned.parameters > plain.parameters
    assert conditioned.old_tasks == dict.fromkeys(OLD, 0.0)
