"""A row's input kept in two parts: what its user brings once, and what it brings itself.

    x_n = [user[row_user[n]] | item[n]]        columns: the user part first, then the item part

The weights of a first layer are split the same way, so W x + b costs U rows for the user half and N
rows for the item half; no row ever copies its user's features. Exact in real arithmetic; in floats
only the order of summation differs from the tiled form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Split:
    """N rows over U users, either one view of them, or V views stacked in front (one per task).

    A part of width 0 is skipped: it costs nothing and leaves no trace in an exported graph.
    """

    user: Tensor  # (U, Du) or (V, U, Du)
    item: Tensor  # (N, Di) or (V, N, Di)
    row_user: Tensor  # (N,)

    @classmethod
    def rows(cls, x: Tensor) -> Split:
        """Rows without a user part: x is (N, D) or (V, N, D)."""
        empty = x.new_empty((*x.shape[:-2], 0, 0))
        return cls(empty, x, x.new_empty(0, dtype=torch.int32))

    @property
    def stacked(self) -> bool:
        """Whether there are V views instead of one."""
        return self.item.ndim == 3  # noqa: PLR2004

    @property
    def width(self) -> int:
        """D = Du + Di."""
        return self.user.shape[-1] + self.item.shape[-1]

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """W x + b per row: weight (o, D) gives (N, o); on V views (V, o, D) gives (V, N, o)."""
        split_at = self.user.shape[-1]
        if not split_at:
            return affine(self.item, weight, bias)
        on_users = affine(self.user, weight[..., :split_at], bias)  # (.., U, o)
        y = on_users.index_select(-2, self.row_user)  # (.., N, o)
        if self.item.shape[-1]:
            y = y + affine(self.item, weight[..., split_at:], None)
        return y

    def unstacked(self) -> Split:
        """V views of N rows as one view of V * N rows, view by view."""
        if not self.stacked:
            return self
        views, users = self.user.shape[0], self.user.shape[1]
        first_user = torch.arange(views, device=self.row_user.device) * users
        row_user = (first_user[:, None] + self.row_user).flatten()  # (V * N,)
        return Split(self.user.flatten(0, 1), self.item.flatten(0, 1), row_user)

    def materialised(self) -> Tensor:
        """Every row with its user's part copied in: (N, D) or (V, N, D)."""
        if not self.user.shape[-1]:
            return self.item
        return torch.cat([self.user.index_select(-2, self.row_user), self.item], dim=-1)


def unflatten(x: Tensor, axis: int, first: int) -> Tensor:
    """One axis as two, the first of them of the given size."""
    parts: Tensor = x.unflatten(axis, (first, -1))  # type: ignore[no-untyped-call]
    return parts


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W x + b: weight (o, D) on rows (N, D), or (V, o, D) on (V, N, D)."""
    if weight.ndim == 2:  # noqa: PLR2004
        return functional.linear(x, weight, bias)
    if bias is None:
        return x @ weight.mT
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
