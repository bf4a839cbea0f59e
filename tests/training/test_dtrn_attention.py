from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from training.dtrn_attention import attention, penalties

LENGTHS = torch.tensor([5, 3, 1])


def world(queries: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three sequences of up to five events of width 4, in float64."""
    g = torch.Generator().manual_seed(queries)
    events, asked = (
        torch.randn(3, many, 4, generator=g, dtype=torch.float64, requires_grad=True)
        for many in (5, queries)
    )
    known = (torch.arange(5) < LENGTHS[:, None]).double()
    return events, asked, penalties(known)


@pytest.mark.parametrize("queries", [1, 6])
@torch.no_grad()
def test_a_query_hears_the_known_events_by_their_products(queries: int) -> None:
    events, asked, penalty = world(queries)
    found = attention(events, asked, penalty)
    for s, length in enumerate(LENGTHS.tolist()):
        seen = events[s, :length]
        assert_close(found[s], torch.softmax(asked[s] @ seen.mT, dim=-1) @ seen)


@pytest.mark.parametrize("queries", [1, 6])
def test_its_gradients_are_those_of_its_numbers(queries: int) -> None:
    events, asked, penalty = world(queries)
    torch.autograd.gradcheck(lambda e, q: attention(e, q, penalty), (events, asked))


@pytest.mark.parametrize("queries", [1, 6])
def test_learning_it_hears_what_it_hears_otherwise(queries: int) -> None:
    events, asked, penalty = world(queries)
    learning = attention(events, asked, penalty)
    with torch.no_grad():
        assert torch.equal(attention(events, asked, penalty), learning)


def test_under_rounded_products_its_gradients_stay_float32() -> None:
    events, asked, penalty = (x.detach().float().requires_grad_() for x in world(6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention(events, asked.bfloat16(), penalty.detach())
    found.sum().backward()  # type: ignore[no-untyped-call]  # torch's
    assert found.dtype == torch.float32
    assert events.grad is not None
    assert asked.grad is not None
    assert asked.grad.dtype == events.grad.dtype == torch.float32
