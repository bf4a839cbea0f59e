"""From sequences to interests: what a user's events say about the row at hand.

    n (T, M, U, L, w), candidate (N, w) --TargetPooling--> (T, M, N, w)
    n (T, M, U, L, w)                   --mean_pooling-->  (T, M, U, w)

Events come as their last norm left them; its gamma and beta follow here, once per interest, for
weights add up to 1. No row copies its user's sequences: rows meet them in products, request by
request. What comes out for an empty sequence means nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.dtrn_attention import attention, penalties
from training.split import unflatten


class TargetPooling(nn.Module):
    """Attention of the candidate over the events: softmax((P_k Y) . (P_q c) / sqrt(w)) Y."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)

    def forward(
        self, n: Tensor, gamma: Tensor, known: Tensor, candidate: Tensor, row_user: Tensor
    ) -> Tensor:
        """Interests (T, M, N, w).

        Args:
            n: (T, M, U, L, w).
            gamma: (T, M, 2, w), the last norm's.
            known: (U, M, L), 1 or 0.
            candidate: (N, w) tokens.
            row_user: (N,).
        """
        # P_k meets the candidate, not the events; beta would add the same to all scores of a row.
        query = self.query(candidate) @ self.key.weight / math.sqrt(candidate.shape[-1])
        query = query * gamma[:, :, :1]  # (T, M, N, w)
        # An exported graph fixes no U; it serves few requests a call, for which this form is best.
        if torch.compiler.is_exporting() or n.shape[2] == 1:
            return rescaled(against_all(query, n, own_events(known, row_user)), gamma)
        return rescaled(by_request(query, n, known, row_user), gamma)


def mean_pooling(n: Tensor, gamma: Tensor, known: Tensor) -> Tensor:
    """The mean event, (T, M, U, w)."""
    share = known / known.sum(-1, keepdim=True).clamp(min=1.0)  # (U, M, L)
    return rescaled((share.transpose(0, 1).unsqueeze(-2) @ n).squeeze(-2), gamma)


def rescaled(pooled: Tensor, gamma: Tensor) -> Tensor:
    """Gamma * pooled + beta."""
    return gamma[:, :, :1] * pooled + gamma[:, :, 1:]


def own_events(known: Tensor, row_user: Tensor) -> Tensor:
    """(M, N, U * L): 1 where an event is known and its user is the row's."""
    users = torch.arange(known.shape[0], device=row_user.device)
    own = (row_user[:, None] == users).to(known.dtype)  # (N, U)
    return (own.unsqueeze(-1) * known.transpose(0, 1).unsqueeze(1)).flatten(-2)


def against_all(query: Tensor, n: Tensor, known: Tensor) -> Tensor:
    """Each row against the events of all U users, the others' masked: one product if U is 1."""
    events = n.flatten(2, 3)  # (T, M, U * L, w)
    weights = torch.softmax(query @ events.mT + penalties(known), dim=-1)  # (T, M, N, U * L)
    return weights @ events


def by_request(query: Tensor, n: Tensor, known: Tensor, row_user: Tensor) -> Tensor:
    """Rows side by side under their request, which is padded to the R rows of the largest."""
    users, rows = n.shape[2], len(row_user)
    if not rows:
        return query
    row_user = row_user.long()
    per_user = torch.bincount(row_user, minlength=users)
    most = int(per_user.max())
    first = per_user.cumsum(0) - per_user
    order = torch.argsort(row_user, stable=True)
    slot = torch.empty_like(order)  # (N,), place of each row in (U * R)
    slot[order] = (
        torch.arange(rows, device=order.device)
        + ((torch.arange(users, device=order.device) * most - first)[row_user[order]])
    )
    shape = (*query.shape[:2], users * most, query.shape[-1])
    queries = unflatten(query.new_zeros(shape).index_copy(2, slot, query), 2, users)
    penalty = penalties(known.transpose(0, 1)).expand(n.shape[0], -1, -1, -1)  # (T, M, U, L)
    pooled = attention(n.flatten(0, 2), queries.flatten(0, 2), penalty.flatten(0, 2))
    return pooled.view(shape).index_select(2, slot)
