"""Where a model learns and in which numbers.

    fit.device, fit.precision --Device.of--> Device, or ConfigError without such a GPU
    Batch --Device.take--> the same batch there

Weights are float32 on every device; bf16 only rounds the products of the training pass.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace

import torch

from training.config import FitConfig
from training.errors import ConfigError
from training.inputs import Batch, Inputs


@dataclass(frozen=True, slots=True)
class Device:
    """A processor or a GPU."""

    place: torch.device
    bf16: bool

    @classmethod
    def of(cls, fit: FitConfig) -> Device:
        """What the configuration asks for.

        Raises:
            ConfigError: device = "cuda" where there is none.
        """
        if fit.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "fit.device is 'cuda', but PyTorch finds no GPU here; set it to 'auto' or 'cpu'"
            )
        on_gpu = fit.device == "cuda" or (fit.device == "auto" and torch.cuda.is_available())
        return cls(torch.device("cuda" if on_gpu else "cpu"), fit.precision == "bf16")

    @property
    def cuda(self) -> bool:
        return self.place.type == "cuda"

    def rounding(self) -> AbstractContextManager[object]:
        """Around the forward pass of training."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.place.type, dtype=torch.bfloat16)

    def take(self, batch: Batch) -> Batch:
        """The batch on this device; sample stays, it indexes what is in memory."""
        if not self.cuda:
            return batch
        return replace(
            batch,
            inputs=inputs_at(batch.inputs, self.place),
            labels=batch.labels.to(self.place),
            mask=batch.mask.to(self.place),
        )


def inputs_at(inputs: Inputs, place: torch.device) -> Inputs:
    """The inputs on a device; themselves if they are there."""
    return Inputs(**{f.name: getattr(inputs, f.name).to(place) for f in fields(inputs)})
