from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from training.split import Split


def example(views: tuple[int, ...], user: int = 3, item: int = 2) -> Split:
    torch.manual_seed(0)
    return Split(
        torch.randn(*views, 4, user, dtype=torch.float64),
        torch.randn(*views, 7, item, dtype=torch.float64),
        torch.tensor([3, 0, 0, 1, 2, 3, 1], dtype=torch.int32),
    )


@pytest.mark.parametrize("views", [(), (3,)])
@pytest.mark.parametrize(("user", "item"), [(3, 2), (0, 2), (3, 0)])
def test_a_linear_equals_that_of_the_materialised_rows(
    views: tuple[int, ...], user: int, item: int
) -> None:
    x = example(views, user, item)
    weight = torch.randn(*views, 6, user + item, dtype=torch.float64)
    bias = torch.randn(*views, 6, dtype=torch.float64)
    plain = x.materialised() @ weight.mT
    assert_close(x.linear(weight, bias), plain + bias.unsqueeze(-2), rtol=0, atol=1e-12)
    assert_close(x.linear(weight), plain, rtol=0, atol=1e-12)


def test_unstacked_views_keep_their_rows_view_by_view() -> None:
    x = example((3,))
    assert torch.equal(x.unstacked().materialised(), x.materialised().flatten(0, 1))


def test_rows_have_no_user_part() -> None:
    x = torch.randn(5, 2)
    assert Split.rows(x).materialised() is x
    assert Split.rows(x).width == 2
