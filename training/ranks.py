"""The processes of one run, and what they tell each other.

    torchrun's environment --joined--> Ranks (ALONE without one)
    a global batch --Ranks.own--> this rank's rows      gradients --Ranks.add--> their sum

Every rank holds the data and draws the same global batches; a rank learns from its slice of each,
and the sum of the slices' losses is the loss of the whole batch (training/losses.py). What is
decided (environments, the validation score) is decided on the first rank and told to the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of `size` processes this one is."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this rank decides, reports and writes."""
        return self.rank == 0

    def own(self, rows: Tensor) -> Tensor:
        """This rank's slice of a global batch; empty if there are fewer rows than ranks."""
        return torch.tensor_split(rows, self.size)[self.rank] if self.size > 1 else rows

    def add(self, parameters: Iterable[nn.Parameter], terms: Tensor) -> Tensor:
        """Put the sum over ranks into every gradient; returns the sum of the terms, (K,)."""
        if self.size == 1:
            return terms
        learned = [p for p in parameters if p.requires_grad]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
        # One message per step: gloo and nccl pay by the message.
        flat = torch.cat([*(g.flatten() for g in grads), terms])
        dist.all_reduce(flat)
        start = 0
        for parameter in learned:
            end = start + parameter.numel()
            parameter.grad = flat[start:end].view_as(parameter)
            start = end
        return flat[start:]

    def tell(self, tensor: Tensor) -> Tensor:
        """The first rank's values, in place."""
        if self.size == 1:
            return tensor
        told = tensor.cuda() if dist.get_backend() == "nccl" else tensor
        dist.broadcast(told, src=0)
        return tensor.copy_(told)

    def share(self, module: nn.Module) -> None:
        """Give every rank the first one's weights."""
        for tensor in module.state_dict().values():
            self.tell(tensor)


ALONE = Ranks()


@contextmanager
def joined(*, cuda: bool) -> Iterator[Ranks]:
    """The ranks that torchrun started; gloo between processors, nccl between GPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Ranks(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
