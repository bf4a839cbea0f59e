from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from training.dtrn_refine import Refinement, ScaledSplit
from training.split import Split


def scaled(views: tuple[int, ...], item: int = 2) -> ScaledSplit:
    torch.manual_seed(0)
    return ScaledSplit(
        torch.randn(*views, 4, 5, dtype=torch.float64),
        torch.randn(*views, 7, item, dtype=torch.float64),
        torch.tensor([3, 0, 0, 1, 2, 3, 1], dtype=torch.int32),
        torch.randn(*views, 7, 2, dtype=torch.float64),
        torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 1, 1]], dtype=torch.float64),
    )


@pytest.mark.parametrize("views", [(), (3,)])
@pytest.mark.parametrize("item", [2, 0])
def test_a_linear_on_scaled_fields_equals_that_of_the_materialised_rows(
    views: tuple[int, ...], item: int
) -> None:
    x = scaled(views, item)
    weight = torch.randn(*views, 6, x.width, dtype=torch.float64)
    bias = torch.randn(*views, 6, dtype=torch.float64)
    plain = x.materialised() @ weight.mT
    assert_close(x.linear(weight, bias), plain + bias.unsqueeze(-2), rtol=0, atol=1e-12)
    assert_close(x.linear(weight), plain, rtol=0, atol=1e-12)


def test_each_row_scales_the_fields_of_its_own_user() -> None:
    x = scaled(())
    row = x.materialised()[4]  # of user 2
    assert_close(row[:3], x.user[2, :3] * x.scale[4, 0])
    assert_close(row[3:5], x.user[2, 3:] * x.scale[4, 1])
    assert_close(row[5:], x.item[4])


def test_unstacked_views_keep_their_rows_view_by_view() -> None:
    x = scaled((3,))
    assert torch.equal(x.unstacked().materialised(), x.materialised().flatten(0, 1))


@torch.no_grad()
def test_a_field_is_weighed_by_the_means_of_all_fields() -> None:
    refine = Refinement(1, (3,), (2,), per="field", doubled=True)
    torch.nn.init.normal_(refine.weigh.weights[1])
    r = Split(torch.randn(1, 4, 3), torch.randn(1, 7, 2), torch.arange(7) % 4)
    rows = r.materialised()[0]
    z = torch.stack([rows[:, :3].mean(dim=1), rows[:, 3:].mean(dim=1)], dim=1)
    (first, second), (b_first, b_second) = refine.weigh.weights, refine.weigh.biases
    hidden = torch.relu(z @ first[0].mT + b_first[0])
    s = 2 * torch.sigmoid(hidden @ second[0].mT + b_second[0])
    want = torch.cat([rows[:, :3] * s[:, :1], rows[:, 3:] * s[:, 1:]], dim=1)
    assert_close(refine(r).materialised()[0], want, rtol=0, atol=1e-6)
