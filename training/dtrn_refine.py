"""DTRN's refinement: per task, a weight for every field and interest (or every number) of a row.

    r_t (T views) --Refinement--> r'_t = r_t * s_t,   s_t = 2 sigmoid(A_2 relu(A_1 z_t))

A_2 starts at zero, so every weight starts at exactly 1 (without the factor 2, at 1/2). A weight of
a user's field belongs to the row, and yet no row needs a copy of the field (ScaledSplit).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.mlp import Layers, StackedMLP
from training.split import Split

ELEMENT_HIDDEN = 64


@dataclass(frozen=True, slots=True)
class ScaledSplit(Split):
    """Rows over users whose fields each row weighs in its own way: x_n = [s_n * user | item].

    W (s * u) is the sum over fields of s_nf (W_f u_f), so W meets the user's fields on U rows. Rows
    meet the fields of all U users, the others' at weight 0: made for calls of few requests.
    """

    scale: Tensor  # (N, Fu) or (V, N, Fu)
    blocks: Tensor  # (Fu, Du), 1 where a column belongs to a field

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """As Split.linear."""
        split_at = self.user.shape[-1]
        fields = (self.user.unsqueeze(-2) * self.blocks).flatten(-3, -2)  # (.., U * Fu, Du)
        on_users = fields @ weight[..., :split_at].mT  # (.., U * Fu, o)
        own = (self.scale.unsqueeze(-2) * self._own_user()).flatten(-2)  # (.., N, U * Fu)
        y = own @ on_users
        if self.item.shape[-1]:
            y = y + self.item @ weight[..., split_at:].mT
        return y if bias is None else y + bias.unsqueeze(-2)

    def unstacked(self) -> Split:
        """As Split.unstacked."""
        if not self.stacked:
            return self
        plain = Split(self.user, self.item, self.row_user).unstacked()
        return ScaledSplit(
            plain.user, plain.item, plain.row_user, self.scale.flatten(0, 1), self.blocks
        )

    def materialised(self) -> Tensor:
        """As Split.materialised."""
        scaled = self.user.index_select(-2, self.row_user) * (self.scale @ self.blocks)
        return torch.cat([scaled, self.item], dim=-1)

    def _own_user(self) -> Tensor:
        """(N, U, 1), 1 where the user is the row's."""
        users = torch.arange(self.user.shape[-2], device=self.row_user.device)
        return (self.row_user[:, None] == users).to(self.scale.dtype).unsqueeze(-1)


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
        inputs = len(user_widths) + len(item_widths)
        hidden = math.ceil(inputs / 2)
        if per == "element":
            inputs, hidden = sum(user_widths) + sum(item_widths), ELEMENT_HIDDEN
        layers = Layers((hidden,), out=inputs, zero_last=True)
        self.weigh = StackedMLP(tasks, inputs, layers, penalised=False)
        self.user_blocks: Tensor
        self.item_blocks: Tensor
        self.register_buffer("user_blocks", _blocks(user_widths), persistent=False)
        self.register_buffer("item_blocks", _blocks(item_widths), persistent=False)

    def forward(self, r: Split) -> Split:
        """T views, refined."""
        return self.refined(r, self.weigh(self.weighed_by(r)))

    def weighed_by(self, r: Split) -> Split:
        """What the networks read, z."""
        if self.per == "element":
            return r
        return Split(_means(r.user, self.user_blocks), _means(r.item, self.item_blocks), r.row_user)

    def refined(self, r: Split, logits: Tensor) -> Split:
        """T views by what the networks said of them, (T, N, inputs)."""
        weights = self.scale * torch.sigmoid(logits)
        if self.per == "element":
            return Split.rows(r.materialised() * weights)
        on_user, on_item = torch.split(
            weights, [len(self.user_blocks), len(self.item_blocks)], dim=-1
        )
        item = r.item * (on_item @ self.item_blocks) if len(self.item_blocks) else r.item
        if not len(self.user_blocks):
            return Split(r.user, item, r.row_user)
        refined = ScaledSplit(r.user, item, r.row_user, on_user, self.user_blocks)
        # An exported graph fixes no U; it serves few requests a call.
        if torch.compiler.is_exporting() or r.user.shape[-2] == 1:
            return refined
        return Split.rows(refined.materialised())


def _blocks(widths: Sequence[int]) -> Tensor:
    """(fields, columns), 1 where a column belongs to a field."""
    fields = torch.arange(len(widths))
    counts = torch.tensor(widths, dtype=torch.int64)
    # The size is given for the meta device, where a full model is counted.
    owner = fields.repeat_interleave(counts, output_size=sum(widths))
    return (fields[:, None] == owner).float()


def _means(x: Tensor, blocks: Tensor) -> Tensor:
    """(.., D) to (.., fields)."""
    return x @ (blocks / blocks.sum(dim=-1, keepdim=True)).mT if len(blocks) else x
