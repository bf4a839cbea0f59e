from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from tests.training.worlds import random_inputs, refill, schema
from training.config import ModelConfig
from training.errors import DataError
from training.esmm import FunnelLink, check_funnel, product_logit
from training.model import build_model


def test_the_product_leaves_as_its_logit() -> None:
    logits = torch.randn(50, 2, dtype=torch.float64) * 3
    product = logits.sigmoid().prod(dim=1)
    assert_close(product_logit(logits).sigmoid(), product, rtol=0, atol=1e-14)


def test_the_logit_of_the_product_is_stable_at_both_ends() -> None:
    far = torch.tensor([[200.0, 200.0], [-200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    found = product_logit(far)
    assert_close(found, torch.tensor([200.0 - torch.log(torch.tensor(2.0)).item(), -400.0, -200.0]))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert far.grad is not None
    assert bool(far.grad.isfinite().all())


@torch.no_grad()
def test_the_second_task_is_never_likelier_than_the_first() -> None:
    model = build_model(ModelConfig(mixer="esmm", tower_units=(6,)), schema(), ["click", "buy"])
    refill(model, std=2.0)
    probabilities = model(random_inputs(schema(), 5, 200)).logits.sigmoid()
    assert bool((probabilities[:, 1] <= probabilities[:, 0]).all())


def test_the_second_target_is_that_both_happened() -> None:
    labels = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert FunnelLink().targets(labels)[:, 1].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_labels_that_are_no_funnel_are_refused_unless_forced() -> None:
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    mask = torch.tensor([[True, True], [True, True], [False, True]])
    with pytest.raises(DataError, match="1 of 2 rows"):
        check_funnel(labels, mask, force=False)
    check_funnel(labels, mask, force=True)
    check_funnel(labels[:1], mask[:1], force=False)
