"""What every mixer offers: from a bottom's views to one vector per task.

    Views --mix--> Mixed -> towers          Views --represent--> Mixed -> Representation
    Views --mean_gates--> Gate: which experts each task hears, on average

Members: mixer_moe.py, mixer_ple.py, mixer_mpt.py, aitm.py, esmm.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from training.bottoms import Views
from training.errors import ConfigError
from training.mlp import StackedMLP


@dataclass(frozen=True, slots=True)
class Mixed:
    """Task-major, as batched products want it."""

    specific: Tensor  # (T, N, m)
    shared: Tensor | None  # (N, m); None where nobody asked and it is not free


@dataclass(frozen=True, slots=True)
class Gate:
    """Mean weights over rows: row g says how much reader g takes from each expert.

    weights is NaN where a reader cannot hear an expert.
    """

    name: str
    readers: tuple[str, ...]  # G
    experts: tuple[str, ...]  # X
    weights: Tensor  # (G, X)


class Mixer(nn.Module, ABC):
    """Bottom's views to (T, N, m)."""

    width: int  # m

    @abstractmethod
    def mix(self, views: Views) -> Mixed:
        """Pre-tower representation o_t of each task; no more than that costs."""

    @abstractmethod
    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        """Shared (N, m) and specific (T, N, m) of Representation."""

    def mean_gates(self, views: Views, tasks: Sequence[str]) -> tuple[Gate, ...]:
        """One Gate per layer, its rows and columns named by the tasks; none without gates."""
        return ()

    def expert_stacks(self) -> tuple[StackedMLP, ...]:
        """All experts, where each reads a view of the bottom and gives a vector of width m.

        Raises:
            ConfigError: this mixer has no such experts, or several layers of them.
        """
        raise ConfigError(f"{type(self).__name__} has no single layer of experts")

    @property
    def keys(self) -> Tensor | None:
        """(T, m) task embeddings that prompts attend to, if the mixer has them."""
        return None


def mix_pool(weights: Tensor, pool: Tensor) -> Tensor:
    """Every task's mixture of one pool: (T, N, X) and (X, N, m) to (T, N, m).

    Batched products over rows: ONNX Runtime takes half as long for them as for an Einsum.
    """
    return (weights.transpose(0, 1) @ pool.transpose(0, 1)).transpose(0, 1)


def mix_own(weights: Tensor, own: Tensor) -> Tensor:
    """Each task's mixture of experts of its own: (T, N, K) and (T, K, N, m) to (T, N, m)."""
    return (weights.mT.unsqueeze(-1) * own).sum(dim=1)


class Link(nn.Module):
    """From tower logits and raw labels to those the loss compares; here nothing changes."""

    def forward(self, logits: Tensor) -> Tensor:
        """(N, T) tower logits to (N, T) task logits."""
        return logits

    def targets(self, labels: Tensor) -> Tensor:
        """(N, T) labels as the tasks are trained on them."""
        return labels
