"""From sequences to interests: what a user's events say about the row at hand.

    Y (U, T, M, L, w), candidate (N, w) --TargetPooling--> (T, N, M, w)
    Y (U, T, M, L, w)                   --mean_pooling-->  (T, U, M, w)

No row copies its user's sequences: rows meet them in products, request by request.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.dtrn_transformer import masked_softmax


class TargetPooling(nn.Module):
    """Attention of the candidate over the events: softmax((P_k Y) . (P_q c) / sqrt(w)) Y."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, y: Tensor, known: Tensor, candidate: Tensor, row_user: Tensor) -> Tensor:
        """Interests (T, N, M, w); 0 for an empty sequence.

        Args:
            y: (U, T, M, L, w).
            known: (U, M, L), 1 or 0.
            candidate: (N, w) tokens.
            row_user: (N,).
        """
        query = self.query(candidate) / math.sqrt(candidate.shape[-1])
        # An exported graph fixes no U; it serves few requests a call, for which this form is best.
        if torch.compiler.is_exporting() or y.shape[0] == 1:
            return against_all(query, self.key(y), y, own_events(known, row_user))
        return by_request(query, self.key(y), y, known, row_user)


def mean_pooling(y: Tensor, known: Tensor) -> Tensor:
    """The mean event, (T, U, M, w); 0 for an empty sequence."""
    share = known / known.sum(-1, keepdim=True).clamp(min=1.0)  # (U, M, L)
    return (share[:, None, :, None] @ y).squeeze(-2).transpose(0, 1)


def own_events(known: Tensor, row_user: Tensor) -> Tensor:
    """(M, N, U * L): 1 where an event is known and its user is the row's."""
    users = torch.arange(known.shape[0], device=row_user.device)
    own = (row_user[:, None] == users).to(known.dtype)  # (N, U)
    return (own.unsqueeze(-1) * known.transpose(0, 1).unsqueeze(1)).flatten(-2)


def against_all(query: Tensor, key: Tensor, y: Tensor, known: Tensor) -> Tensor:
    """Each row against the events of all U users, the others' masked: one product if U is 1."""
    keys = key.permute(1, 2, 0, 3, 4).flatten(2, 3)  # (T, M, U * L, w)
    events = y.permute(1, 2, 0, 3, 4).flatten(2, 3)
    weights = masked_softmax(query @ keys.mT, known)  # (T, M, N, U * L)
    return (weights @ events).transpose(1, 2)


def by_request(query: Tensor, key: Tensor, y: Tensor, known: Tensor, row_user: Tensor) -> Tensor:
    """Rows side by side under their request, which is padded to the R rows of the largest."""
    users, rows, width = y.shape[0], len(query), query.shape[-1]
    tasks, behaviours = y.shape[1], y.shape[2]
    if not rows:
        return y.new_zeros((tasks, 0, behaviours, width))
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
    grouped = query.new_zeros((users * most, width)).index_copy(0, slot, query)
    queries = grouped.view(users, 1, 1, most, width)
    weights = masked_softmax(queries @ key.mT, known[:, None, :, None])  # (U, T, M, R, L)
    pooled = (weights @ y).permute(1, 0, 3, 2, 4)  # (T, U, R, M, w)
    return pooled.flatten(1, 2).index_select(1, slot)
