from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from training.environment import (
    EnvironmentClassifier,
    assign_environments,
    collapsed,
    environment_counts,
    grl_alpha,
    ramp_value,
    random_environments,
    reverse_gradient,
)
from training.losses import row_losses

RUN = {"batches": 780, "epochs": 30, "batch_size": 256}


@pytest.mark.parametrize(
    ("progress", "alpha"),
    [(0.0, 0.0), (0.1, 0.462117), (0.25, 0.848284), (0.5, 0.986614), (1.0, 0.999909)],
)
def test_the_ramp_has_its_published_values(progress: float, alpha: float) -> None:
    assert abs(ramp_value(progress) - alpha) < 1e-6


def test_the_monotone_ramp_runs_from_0_to_1_and_never_falls() -> None:
    alphas = [grl_alpha("monotone", step, **RUN) for step in range(780 * 30)]
    assert alphas == sorted(alphas)
    assert alphas[0] == 0.0
    assert alphas[-1] == ramp_value(1.0)


def test_the_monotone_ramp_survives_a_run_of_one_step() -> None:
    assert grl_alpha("monotone", 0, batches=1, epochs=1, batch_size=8) == 0.0


def test_the_legacy_ramp_falls_back_between_epochs() -> None:
    assert abs(grl_alpha("legacy", 779, **RUN) - 0.468) < 1e-3
    assert abs(grl_alpha("legacy", 780, **RUN) - 0.165) < 1e-3


def test_the_constant_ramp_is_1() -> None:
    assert grl_alpha("constant", 0, **RUN) == 1.0


def test_reversal_is_the_identity_forward_and_minus_alpha_backward() -> None:
    x = torch.randn(4, requires_grad=True)
    y = reverse_gradient(x, 0.3)
    assert torch.equal(y, x)
    y.backward(torch.ones(4))  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert_close(x.grad, torch.full((4,), -0.3))


def test_the_classifier_gives_log_probabilities() -> None:
    found = EnvironmentClassifier(5, 3).log_probabilities(torch.randn(7, 5), 0.1)
    assert_close(found.exp().sum(dim=1), torch.ones(7))


def losses(labels: list[float], probabilities: list[float]) -> Tensor:
    return row_losses(torch.tensor([probabilities]).logit(), torch.tensor([labels]))


@pytest.mark.parametrize(
    ("labels", "probabilities", "want", "environment"),
    [
        ([1.0, 0.0], [0.9, 0.2], [0.1054, 0.2231], 0),
        ([1.0, 1.0], [0.3, 0.6], [1.2040, 0.5108], 1),
        ([1.0, 1.0], [0.6, 0.6], [0.5108, 0.5108], 0),
    ],
)
def test_the_environment_is_the_task_of_smallest_loss_ties_to_the_lowest(
    labels: list[float], probabilities: list[float], want: list[float], environment: int
) -> None:
    found = losses(labels, probabilities)
    assert_close(found[0], torch.tensor(want), rtol=0, atol=1e-4)
    assert assign_environments(found, "none").tolist() == [environment]


def test_ranks_undo_a_difference_of_base_rates() -> None:
    """Task 1 is rare, its losses tiny; by rank each task wins the rows it is relatively best at."""
    found = torch.tensor([[0.2, 0.009], [0.9, 0.001], [0.3, 0.008], [0.8, 0.002]])
    assert assign_environments(found, "none").tolist() == [1, 1, 1, 1]
    assert assign_environments(found, "rank").tolist() == [0, 1, 0, 1]


def test_equal_losses_have_equal_ranks() -> None:
    found = torch.tensor([[0.5, 0.1], [0.5, 0.2], [0.5, 0.3]])
    assert assign_environments(found, "rank").tolist() == [1, 0, 0]


@pytest.mark.parametrize("normalise", ["none", "rank"])
def test_an_unknown_label_never_names_the_environment(normalise: str) -> None:
    found = torch.tensor([[0.1, 0.9], [0.2, 0.8]])
    mask = torch.tensor([[False, True], [True, True]])
    chosen = assign_environments(found, "rank" if normalise == "rank" else "none", mask)
    assert chosen[0] == 1


def test_collapse_is_more_than_99_percent_in_one_environment() -> None:
    assert collapsed(environment_counts(torch.tensor([1] * 995 + [0] * 5), 2))
    assert not collapsed(environment_counts(torch.tensor([1] * 990 + [0] * 10), 2))


def test_first_environments_are_uniform_and_follow_the_seed() -> None:
    draw = [random_environments(6000, 3, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(draw[0], draw[1])
    assert bool((environment_counts(draw[0], 3) > 1850).all())
