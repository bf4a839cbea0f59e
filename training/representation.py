"""What a backbone hands to heads and prompts: the same named tensors for every model.

MultiTaskModel.represent(inputs) -> Representation -> head of an existing task | prompt head
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.split import Split


@dataclass(frozen=True, slots=True)
class Events:
    """What a dtrn bottom reads of U users' histories, for whoever reads them in another way."""

    tokens: Tensor  # (U, M, L, w), zero where padded
    known: Tensor  # (U, M, L), 1 or 0, in the tokens' dtype


@dataclass(frozen=True, slots=True)
class Representation:
    """N rows as the backbone sees them."""

    h: Split  # (N, Dh) in two parts: gate and query input
    shared: Tensor  # (N, m), what all tasks share
    specific: Tensor  # (N, T, m), one vector per existing task
    keys: Tensor | None  # (T, m), the task embeddings; only mpt has them
    events: Events | None = None  # of a dtrn bottom, where they were not left out
    item_ids: Tensor | None = None  # (N, Fi) int32, for prompts with weights of their own

    def tensors(self) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor, Tensor]:
        """h_user, h_item, row_user, shared, specific: the arguments of heads and prompt bank.

        A part of h that has width 0 is None.
        """
        user = self.h.user if self.h.user.shape[-1] else None
        item = self.h.item if self.h.item.shape[-1] else None
        return user, item, self.h.row_user, self.shared, self.specific


def join(h_user: Tensor | None, h_item: Tensor | None, row_user: Tensor) -> Split:
    """The Split of two parts of which one may be missing."""
    present = h_user if h_user is not None else h_item
    if present is None:
        raise ValueError("h_user and h_item are both None; at least one part of h has columns")
    empty = present.new_empty((0, 0))
    return Split(empty if h_user is None else h_user, empty if h_item is None else h_item, row_user)
