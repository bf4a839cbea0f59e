"""The running mean of a model's weights while it learns (Polyak and Juditsky, 1992).

    weights after step n --WeightAverage.take--> a_n = d_n a_(n-1) + (1 - d_n) w_n
    a_n --WeightAverage.worn--> the module has them, and afterwards its own again

d_n = min(decay, n / (n + 3)), n from 0: a mean of the first steps would be one of random weights.
Steps go on from w; what is judged and kept is a. Around a minimum w jumps and a lies in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

_EARLY = 3
_TAKEN = "taken"


class WeightAverage:
    """Of whatever in the module requires a gradient; a decay of 0 keeps none and costs nothing."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        learned = [p for p in module.parameters() if p.requires_grad] if decay else []
        self._weights: list[Tensor] = list(learned)
        self._means = [weight.detach().clone() for weight in learned]
        self._decay, self._taken = decay, 0

    def take(self) -> None:
        """Count the weights in as they are now; after each step."""
        if not self._weights:
            return
        decay = min(self._decay, self._taken / (self._taken + _EARLY))
        mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch's
        mean(self._means, self._weights, self._taken)
        self._taken += 1

    @contextmanager
    def worn(self) -> Iterator[None]:
        """The module has the means for a while; before the first step its own weights."""
        if not self._taken:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        # Storages change hands: no copy, and the optimizer's parameters stay the same objects.
        for at, weight in enumerate(self._weights):
            weight.data, self._means[at] = self._means[at], weight.data

    def state(self) -> dict[str, Tensor]:
        """What load takes to go on from here."""
        if not self._weights:
            return {}
        means = {str(at): mean for at, mean in enumerate(self._means)}
        return {_TAKEN: torch.tensor(self._taken), **means}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go back to a state of an average over the same weights."""
        if not self._weights:
            return
        self._taken = int(state[_TAKEN])
        for at, mean in enumerate(self._means):
            mean.copy_(state[str(at)])
