"""One pass over the training rows: their order, and each step's part of it.

    Dataset --epoch_steps--> rows of each step      Dataset, rows of a step --Pass.batch--> Batch

Rows on disk are shuffled in blocks, then row by row within a buffer of blocks: reading goes from
block to block, and no order of all rows is ever held.

Every rank draws the same orders from the same generator and takes its own slice of each step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from training.config import FitConfig
from training.dataset import BLOCK, Dataset
from training.evaluate import chunks
from training.inputs import Batch, Whole
from training.ranks import Ranks

_SEEDS = 2**62
_BUFFER = 32  # blocks among which rows are shuffled


@dataclass(frozen=True, slots=True)
class Pass:
    """How batches are made of the rows of a step."""

    train: Dataset
    tasks: tuple[str, ...]
    fit: FitConfig
    ranks: Ranks

    def batch(self, rows: Tensor, generator: Generator) -> Batch | None:
        """This rank's part of a global batch; None if it has no row of it.

        Args:
            rows: (N,) of the global batch.
            generator: moves on alike on every rank, whatever slice it has.
        """
        own = self.ranks.own(rows)
        if self.fit.history_dropout:
            seed = int(torch.randint(_SEEDS, (), generator=generator)) + self.ranks.rank
        if not len(own):
            return None
        batch = self.train.batch(own, self.tasks)
        if self.fit.history_dropout:
            drawn = Generator().manual_seed(seed)
            batch = drop_histories(batch, self.fit.history_dropout, drawn)
        if self.ranks.size == 1:
            return batch
        columns = [self.train.tasks.index(task) for task in self.tasks]
        known = self.train.mask.index_select(0, rows)[:, columns].sum(dim=0)
        return replace(batch, whole=Whole(len(rows), known.to(torch.float32)))


def epoch_steps(train: Dataset, fit: FitConfig, generator: Generator) -> Iterator[Tensor]:
    """The row numbers of each step of one epoch, fit.batch_size in each but the last."""
    if train.on_disk:
        return _steps_by_block(len(train), fit, generator)
    return iter(chunks(epoch_order(train, fit, generator), fit.batch_size))


def _steps_by_block(rows: int, fit: FitConfig, generator: Generator) -> Iterator[Tensor]:
    shuffled = fit.shuffle == "rows"
    count = -(-rows // BLOCK)
    blocks = torch.randperm(count, generator=generator) if shuffled else torch.arange(count)
    left = torch.zeros(0, dtype=torch.int64)
    for buffer in chunks(blocks, _BUFFER):
        starts = (buffer * BLOCK).tolist()
        ranges = [torch.arange(start, min(start + BLOCK, rows)) for start in starts]
        found = torch.cat(ranges)
        if shuffled:
            found = found[torch.randperm(len(found), generator=generator)]
        *whole, left = chunks(torch.cat([left, found]), fit.batch_size)
        yield from whole
    yield left


def epoch_order(train: Dataset, fit: FitConfig, generator: Generator) -> Tensor:
    """Row numbers (R,) in the order of one epoch."""
    rows = len(train)
    if fit.shuffle == "off":
        return torch.arange(rows)
    if fit.shuffle == "rows":
        return torch.randperm(rows, generator=generator)
    _, request = torch.unique(train.requests, return_inverse=True)
    place = torch.randperm(int(request.max()) + 1, generator=generator)
    return torch.argsort(place[request], stable=True)


def drop_histories(batch: Batch, rate: float, generator: Generator) -> Batch:
    """Some users without any history, as when the feature cache is away (training only)."""
    history = batch.inputs.history  # (U, M, L, A)
    gone = torch.rand(len(history), generator=generator) < rate
    kept = history.masked_fill(gone[:, None, None, None], 0)
    return replace(batch, inputs=replace(batch.inputs, history=kept))
