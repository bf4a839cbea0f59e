"""An expert of the new task's own, which a prompt adds to what it draws from the backbone; ours.

    e = W_2 relu(W_1 (h / s) + b_1) + b_2        f = g_0 (z * E_new) + g_1 shared + e

s is how large each column of h is on the training rows. Columns differ a hundredfold, and a step
of Adam is as long for a small column as for a large one: unscaled, the small ones are hardly used.
When exported, 1 / s is part of W_1. W_2 and b_2 start at zero: a prompt begins as the paper's.

Columns may be left unread: those of an id with few rows a value, say a user's, hold much of what
the old tasks' labels were on the very rows a prompt learns from, and of no other row's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.bottoms import Span
from training.mlp import Layers, StackedMLP
from training.split import Split

_FLOOR = 1e-2  # of the mean square: columns smaller than a tenth of the usual are noise


class PromptExpert(nn.Module):
    """h to one vector of the backbone's width.

    Args:
        in_width: Dh.
        units: hidden ones.
        width: m.
        unread: spans of columns that it does not see.
    """

    def __init__(
        self, in_width: int, units: Sequence[int], width: int, unread: Sequence[Span] = ()
    ) -> None:
        super().__init__()
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(in_width))
        for first, end in unread:
            self.scale[first:end] = math.inf  # x / inf and w / inf are 0
        self.layers = StackedMLP(1, in_width, Layers(units, out=width, zero_last=True))

    def forward(self, h: Split) -> Tensor:
        """(N, m)."""
        # W / s on h is W on h / s, without a division per row.
        first: Tensor = h.linear(self.layers.weights[0][0] / self.scale, self.layers.biases[0][0])
        return self.layers.after_first(first.unsqueeze(0))[0]

    @torch.no_grad()
    def take_scale(self, mean_square: Tensor) -> None:
        """Set s from the mean squares of h's columns, (Dh,); before training."""
        found = (mean_square + _FLOOR * mean_square.mean()).sqrt()
        self.scale.copy_(torch.where(self.scale.isinf(), self.scale, found))

    def bank_tensors(self, d_user: int) -> dict[str, Tensor]:
        """The serving form, matrices as [in, out] and 1 / s folded in."""
        tensors = self.layers.named("expert")
        first = tensors.pop("expert.w0") / self.scale.unsqueeze(1)
        return {"expert.w0.user": first[:d_user], "expert.w0.item": first[d_user:], **tensors}
