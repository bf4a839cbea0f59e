from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from tests.training.worlds import random_inputs, refill, schema
from training.config import ModelConfig
from training.mixer_mpt import MptMixer
from training.model import MultiTaskModel, build_model

INPUTS = random_inputs(schema(), 4, 30)
ENVIRONMENTS = torch.randint(3, (30,), generator=torch.Generator().manual_seed(2))
CONFIG = ModelConfig(embedding_dim=4, expert_units=(10, 6), tower_units=(5,))


def mpt() -> tuple[MultiTaskModel, MptMixer]:
    model = build_model(CONFIG, schema(), ["a", "b", "c"]).double()
    refill(model)
    assert isinstance(model.mixer, MptMixer)
    return model, model.mixer


def game_gradients(alpha: float) -> dict[str, Tensor | None]:
    """Of the classifier's loss alone."""
    model, _ = mpt()
    log_probabilities = model(INPUTS, alpha=alpha).env_logprob
    functional.nll_loss(log_probabilities, ENVIRONMENTS).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in model.named_parameters()}


def test_the_game_reaches_the_shared_expert_times_minus_alpha() -> None:
    unreversed = game_gradients(-1.0)
    for alpha in (0.3, 1.0):
        reversed_ = game_gradients(alpha)
        for name, grad in unreversed.items():
            if "shared_expert" in name:
                found = reversed_[name]
                assert grad is not None
                assert found is not None
                assert grad.any()
                assert_close(found, -alpha * grad, rtol=0, atol=1e-15)


def test_the_classifier_learns_the_same_at_any_alpha() -> None:
    weak, strong = game_gradients(0.1), game_gradients(1.0)
    for name in ("classifier.weight", "classifier.bias"):
        found, want = weak[name], strong[name]
        assert found is not None
        assert want is not None
        assert found.any()
        assert torch.equal(found, want)


def test_the_game_leaves_specific_experts_gates_masks_and_towers_alone() -> None:
    for name, grad in game_gradients(0.7).items():
        if any(part in name for part in ("specific", "gates", "task_embedding", "towers")):
            assert grad is None or not grad.any()


def test_at_alpha_0_the_shared_expert_gets_exactly_nothing() -> None:
    grads = [g for name, g in game_gradients(0.0).items() if "shared_expert" in name]
    assert grads
    assert not any(g is None or g.any() for g in grads)


@torch.no_grad()
def test_with_equal_experts_and_masks_of_1_the_fused_output_is_the_shared_one() -> None:
    model, mixer = mpt()
    mixer.task_embedding.fill_(1.0)
    for own, shared in zip(
        mixer.specific_experts.parameters(), mixer.shared_expert.parameters(), strict=True
    ):
        own.copy_(shared.expand_as(own))
    outputs = model(INPUTS, alpha=0.0)
    assert outputs.shared_logits is not None
    assert_close(outputs.logits, outputs.shared_logits, rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_representation_holds_the_raw_specific_experts() -> None:
    model, mixer = mpt()
    representation = model.represent(INPUTS)
    own = mixer.specific_experts(representation.h).transpose(0, 1)
    assert_close(representation.specific, own, rtol=0, atol=1e-12)
    assert bool((representation.specific >= 0).all())
