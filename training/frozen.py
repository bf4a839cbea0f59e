"""A new task's rows as the frozen backbone sees them, computed once.

    model, Dataset --RepresentationCache.of--> h of all rows; of shared and specific what is read
    Checkpoint, Prepared, task, what is read --frozen_examples--> Examples per split

A head that reads all, h alone, or the mean of the specific vectors is given a cache; one that reads
events a live representation.
Nothing upstream of a prompt moves while it is tuned, so its epochs read from here. Large caches
live in an unlinked file, which the page cache holds as far as memory allows.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoint
from training.config import Reads
from training.dataset import Dataset, Prepared
from training.evaluate import EVAL_BATCH, by_request, chunks
from training.metrics import Resampling, TaskMetrics, measure
from training.model import MultiTaskModel
from training.representation import Representation
from training.split import Split

_MEMORY_BYTES = 2**30  # above this, per tensor, a file
_SHARED = 2  # rows per user part from which keeping it once saves more than it costs


@dataclass(frozen=True, slots=True)
class RepresentationCache:
    """R rows in the order of their data set; the user part of h once per request (Uc rows).

    Where hardly two rows share a request it is copied to them at once: then Du is 0, Di all of Dh.
    """

    user: Tensor  # (Uc, Du)
    item: Tensor  # (R, Di)
    row_user: Tensor  # (R,) int64, row of `user`
    shared: Tensor  # (R, m)
    specific: Tensor  # (R, T, m), or their mean, (R, 1, m)
    keys: Tensor | None  # (T, m)
    item_ids: Tensor  # (R, Fi) int32

    @classmethod
    @torch.no_grad()
    def of(
        cls, model: MultiTaskModel, dataset: Dataset, *, reads: Reads = "all"
    ) -> RepresentationCache:
        """Run the backbone, which must be in eval mode, over all rows by chunks.

        Where h alone is read, no experts run (MultiTaskModel.represent).
        """
        rows = len(dataset)
        users = [torch.empty(1, 0)] if not model.bottom.user_width else []
        parts: tuple[Tensor, ...] = ()
        row_user = torch.zeros(rows, dtype=torch.int64)
        known, keys = 0, None
        for chunk in by_request(dataset, EVAL_BATCH):
            inputs = dataset.batch(chunk, ()).inputs
            rep = model.represent(inputs, mixed=reads != "h")
            specific = rep.specific.mean(dim=1, keepdim=True) if reads == "mean" else rep.specific
            found = (rep.h.item, rep.shared, specific, inputs.item_ids)
            parts = parts or tuple(_room((rows, *part.shape[1:]), part.dtype) for part in found)
            for room, part in zip(parts, found, strict=True):
                if part.numel():  # h may have no item part
                    room[chunk] = part
            if model.bottom.user_width:
                row_user[chunk] = rep.h.row_user.long() + known
                known += len(rep.h.user)
                users.append(rep.h.user)
            keys = rep.keys
        item, shared, specific, item_ids = parts
        user = torch.cat(users)
        if user.shape[1] and len(user) * _SHARED > rows:
            user, item = user.new_empty((1, 0)), _side_by_side(user, row_user, item)
            row_user.zero_()
        return cls(user, item, row_user, shared, specific, keys, item_ids)

    def mean_square(self) -> Tensor:
        """(Dh,) of the columns of h over all rows."""
        times = torch.bincount(self.row_user, minlength=len(self.user)).to(self.user.dtype)
        user = times @ self.user.square() / max(len(self.row_user), 1)
        return torch.cat([user, self.item.square().mean(dim=0)])

    def rows(self, rows: Tensor) -> Representation:
        """The representation of some rows (N,), each with its user's part copied in.

        Rows drawn at random hardly ever share a request: copying costs less than finding out, and
        nothing is scattered back on the way of the gradient.
        """
        # index_select copies whole rows; indexing by a tensor goes element by element.
        parts = (self.item, self.shared, self.specific, self.item_ids)
        item, shared, specific, item_ids = (part.index_select(0, rows) for part in parts)
        if self.user.shape[1]:
            user = self.user.index_select(0, self.row_user.index_select(0, rows))
            item = torch.cat([user, item], dim=1)
        return Representation(Split.rows(item), shared, specific, self.keys, item_ids=item_ids)


def _side_by_side(user: Tensor, row_user: Tensor, item: Tensor) -> Tensor:
    """(R, Du + Di), by chunks: the caches may be files."""
    joined = _room((len(item), user.shape[1] + item.shape[1]), item.dtype)
    for rows in chunks(torch.arange(len(item)), EVAL_BATCH):
        joined[rows] = torch.cat([user[row_user[rows]], item[rows]], dim=1)
    return joined


def _room(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor of 4-byte numbers: in memory, or in its own file if it is large."""
    size = math.prod(shape)
    if size * 4 <= _MEMORY_BYTES:
        return torch.empty(shape, dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:  # unlinked at once; the mapping keeps the bytes
        path = Path(folder) / "rows"
        return torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(shape)


@dataclass(frozen=True, slots=True)
class LiveRepresentation:
    """In place of a cache: the backbone runs anew, since all events are too many to keep."""

    model: MultiTaskModel
    dataset: Dataset

    @torch.no_grad()
    def rows(self, rows: Tensor) -> Representation:
        """The representation of some rows (N,), with their users' events."""
        return self.model.represent(self.dataset.batch(rows, ()).inputs)


@dataclass(frozen=True, slots=True)
class Examples:
    """One split of the new task as the backbone sees it; rows are those that have a label."""

    cache: RepresentationCache | LiveRepresentation
    rows: Tensor  # (n,) row numbers of the split
    labels: Tensor  # (R,) float32
    users: Tensor  # (R,)

    @torch.no_grad()
    def logits(self, head: nn.Module) -> Tensor:
        """(n,), in the order of rows."""
        return torch.cat([head(self.cache.rows(rows)) for rows in chunks(self.rows, EVAL_BATCH)])

    def measure(self, head: nn.Module) -> TaskMetrics:
        """All figures of the task, with an interval."""
        return measure(
            self.labels[self.rows].numpy(),
            self.logits(head).double().sigmoid().numpy(),
            users=self.users[self.rows].numpy(),
            resampling=Resampling(),
        )


def frozen_examples(
    checkpoint: Checkpoint,
    prepared: Prepared,
    task: str,
    splits: Collection[str] | None = None,
    *,
    reads: Reads = "all",
) -> dict[str, Examples]:
    """The splits of a new task, all three or those named, as the frozen backbone sees them.

    Each is run through it once, its experts unless h alone is read; where events are, the backbone
    runs whenever rows are asked for.
    """
    model = checkpoint.model.requires_grad_(requires_grad=False).eval()
    examples = {}
    for name, dataset in prepared.splits.items():
        if splits is not None and name not in splits:
            continue
        column = dataset.tasks.index(task)
        rows, labels = dataset.mask[:, column].nonzero().squeeze(1), dataset.labels[:, column]
        seen = (
            LiveRepresentation(model, dataset)
            if reads == "events"
            else RepresentationCache.of(model, dataset, reads=reads)
        )
        examples[name] = Examples(seen, rows, labels, dataset.users)
    return examples
