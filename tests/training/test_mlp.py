from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from training.mlp import Init, Layers, StackedMLP, evaluate
from training.split import Split


def one_by_one(mlp: StackedMLP, group: int, x: Tensor) -> Tensor:
    """The definition: Linear, ReLU after every unit, no ReLU after the output layer."""
    for layer, weight in enumerate(mlp.weights):
        x = x @ weight[group].mT
        if mlp.biases:
            x = x + mlp.biases[layer][group]
        if layer < mlp.activated:
            x = x.relu()
    return x


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("units", "out"), [((6, 3), None), ((6,), 2), ((), 2)])
def test_groups_are_perceptrons_of_their_own(
    units: tuple[int, ...], out: int | None, *, bias: bool
) -> None:
    mlp = StackedMLP(4, 5, Layers(units, out=out, bias=bias)).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    views = torch.randn(2, 7, 5, dtype=torch.float64)
    on_one, on_two = mlp(Split.rows(x)), mlp(Split.rows(views))
    for g in range(4):
        assert_close(on_one[g], one_by_one(mlp, g, x), rtol=0, atol=1e-12)
        assert_close(on_two[g], one_by_one(mlp, g, views[g // 2]), rtol=0, atol=1e-12)


def test_stacks_evaluated_together_give_what_each_gives_alone() -> None:
    """Whether they share a view or not, with biases and without."""
    wide = StackedMLP(4, 5, Layers((6, 3))).double()
    gate = StackedMLP(2, 5, Layers((), out=2, bias=False)).double()
    one = Split.rows(torch.randn(7, 5, dtype=torch.float64))
    two = Split.rows(torch.randn(2, 7, 5, dtype=torch.float64))
    readers = [(wide, one), (gate, two), (wide, two), (gate, one)]
    for (stack, view), found in zip(readers, evaluate(readers), strict=True):
        assert_close(found, stack(view), rtol=0, atol=1e-12)


def test_a_group_alone_gives_the_same_and_holds_nothing_of_the_others() -> None:
    mlp, x = StackedMLP(3, 5, Layers((4,), out=1)), Split.rows(torch.randn(6, 5))
    alone = mlp.only(1)
    assert_close(alone(x)[0], mlp(x)[1])
    assert sum(p.numel() for p in alone.parameters()) * 3 == sum(
        p.numel() for p in mlp.parameters()
    )
    assert not any(p.requires_grad for p in alone.parameters())
    assert all(p.requires_grad for p in mlp.parameters())


@pytest.mark.parametrize("init", ["torch", "xavier"])
def test_each_group_is_drawn_as_a_linear_of_its_own(init: Init) -> None:
    torch.manual_seed(0)
    mlp = StackedMLP(3, 64, Layers((256,)))
    mlp.reset(init)
    uniform, xavier = 1 / math.sqrt(3 * 64), math.sqrt(2 / (64 + 256))
    want = uniform if init == "torch" else xavier
    for g in range(3):
        assert_close(mlp.weights[0][g].std().item(), want, rtol=0.03, atol=0)
    assert bool(mlp.biases[0].any()) is (init == "torch")


def test_dropout_falls_in_training_only() -> None:
    mlp, x = StackedMLP(1, 5, Layers((50,), dropout=(0.5,))), Split.rows(torch.randn(6, 5))
    quiet = mlp.eval()(x)
    assert torch.equal(mlp(x), quiet)
    assert not torch.equal(mlp.train()(x), quiet)
