"""Attention over short sequences, many at once.

    events (S, L, w), queries (S, Q, w), penalty (S, L) --attention--> what queries hear, (S, Q, w)

Events are keys and values at once: the matrices that would make them so belong to the queries and
to what those hear. On a processor tiny products are slow in most of their forms, and so is softmax
along a short row; hence events in front of queries, and a gradient written out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import FunctionCtx

MASKED = -1e9


def penalties(known: Tensor) -> Tensor:
    """What a score loses: nothing where known is 1, elsewhere so much that its exponential is 0.

    So padding moves no bit. But where nothing at all is known, what is heard means nothing.
    """
    return (1.0 - known) * MASKED


def attention(events: Tensor, queries: Tensor, penalty: Tensor) -> Tensor:
    """softmax(queries . events) events, (S, Q, w).

    Args:
        events: (S, L, w).
        queries: (S, Q, w), already scaled.
        penalty: (S, L), of each event.
    """
    penalty = penalty.unsqueeze(-1)
    if queries.shape[1] == 1:  # element by element, as most rows of a log come alone
        weights = torch.softmax((events * queries).sum(-1, keepdim=True) + penalty, dim=1)
        return (weights * events).sum(1, keepdim=True)
    if torch.is_grad_enabled() and not events.is_cuda:
        heard: Tensor = _Attention.apply(events, queries, penalty)  # type: ignore[no-untyped-call]
        return heard
    return _weights(events, queries, penalty).mT @ events


def _weights(events: Tensor, queries: Tensor, penalty: Tensor) -> Tensor:
    """(S, L, Q)."""
    return torch.softmax(torch.baddbmm(penalty, events, queries.mT), dim=1)


class _Attention(torch.autograd.Function):
    """The same, where autograd would put queries in front of events, and copy."""

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: FunctionCtx, events: Tensor, queries: Tensor, penalty: Tensor) -> Tensor:
        weights = _weights(events, queries, penalty)
        ctx.save_for_backward(events, queries, weights)
        return weights.mT @ events

    @staticmethod
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        events, queries, weights = ctx.saved_tensors  # type: ignore[attr-defined]
        of_weights = weights * (events @ gradient.mT)  # (S, L, Q)
        of_scores = of_weights - weights * of_weights.sum(dim=1, keepdim=True)
        of_events = torch.baddbmm(weights @ gradient, of_scores, queries)
        return of_events, of_scores.mT @ events, None
