"""DTRN's refinement: per task, a weight for every field and interest (or every number) of a row.

    r_t (T views) --Refinement--> r'_t = r_t * s_t,   s_t = 2 sigmoid(A_2 relu(A_1 z_t))

A_2 starts at zero, so every weight starts at exactly 1 (without the factor 2, at 1/2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from training.mlp import Layers, StackedMLP
from training.split import Split

ELEMENT_HIDDEN = 64


class Refinement(nn.Module):
    """One small network per task.

    Args:
        tasks: T.
        user_widths, item_widths: widths of the fields of the user and of the item part, in order.
        per: field weighs whole fields by their means; element weighs each number by all numbers.
        doubled: whether s is 2 sigmoid or sigmoid.
    """

    def __init__(
        self,
        tasks: int,
        user_widths: Sequence[int],
        item_widths: Sequence[int],
        *,
        per: Literal["field", "element"],
        doubled: bool,
    ) -> None:
        super().__init__()
        self.per = per
        self.scale = 2.0 if doubled else 1.0
        self.user_widths, self.item_widths = tuple(user_widths), tuple(item_widths)
        widths = (*user_widths, *item_widths)
        inputs = len(widths) if per == "field" else sum(widths)
        hidden = math.ceil(inputs / 2) if per == "field" else ELEMENT_HIDDEN
        layers = Layers((hidden,), out=inputs, zero_last=True)
        self.weigh = StackedMLP(tasks, inputs, layers, penalised=False)
        self.register_buffer("repeats", torch.tensor(widths), persistent=False)

    def forward(self, r: Split) -> Split:
        """T views, refined; they depend on the row, so all columns stand at N."""
        z = self._field_means(r) if self.per == "field" else r
        weights = self.scale * torch.sigmoid(self.weigh(z))  # (T, N, fields or D)
        if self.per == "field":
            widths = (*self.user_widths, *self.item_widths)
            weights = torch.cat(
                [weights[..., i : i + 1].expand(-1, -1, w) for i, w in enumerate(widths)], dim=-1
            )
        return Split.rows(r.materialised() * weights)

    def _field_means(self, r: Split) -> Split:
        return Split(_means(r.user, self.user_widths), _means(r.item, self.item_widths), r.row_user)


def _means(x: Tensor, widths: Sequence[int]) -> Tensor:
    """(.., D) to (.., fields)."""
    if not widths:
        return x
    return torch.cat(
        [part.mean(dim=-1, keepdim=True) for part in torch.split(x, list(widths), dim=-1)], dim=-1
    )
