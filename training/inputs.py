"""The tensors of one call, request-major: user things once per request, item things once per row.

Dataset --Inputs--> MultiTaskModel. Shapes use the letters of contract/schema.py; a group the schema
lacks is a tensor of width 0, so modules need no special case.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a model reads. ids, bags and history hold rows of the one embedding table (int32)."""

    user_ids: Tensor  # (U, Fu)
    user_dense: Tensor  # (U, Du) float32, scaled
    user_bags: Tensor  # (U, Wu), 0 = padding
    history: Tensor  # (U, M, L, A), newest first, 0 = padding at the end
    item_ids: Tensor  # (N, Fi)
    item_dense: Tensor  # (N, Di) float32, scaled
    item_bags: Tensor  # (N, Wi)
    row_user: Tensor  # (N,) int32, which of the U users a row belongs to


@dataclass(frozen=True, slots=True)
class Whole:
    """A global batch that is learned from in parts, one per rank: what its means divide by."""

    rows: int
    known: Tensor  # (T,) float32, labels known


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs with what is to be learned from them; whole, where it is but a part of a batch."""

    inputs: Inputs
    labels: Tensor  # (N, T) float32 in {0, 1}; 0 where masked
    mask: Tensor  # (N, T) bool, True where the label is known
    sample: Tensor  # (N,) int64, the row's index in its split: carries the environment labels
    whole: Whole | None = None
