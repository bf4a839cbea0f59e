"""ESMM (arXiv 1804.07931): two tasks of which the second happens only after the first.

    pCTR = sigmoid(a)   pCVR = sigmoid(b)   pCTCVR = pCTR pCVR     over all impressions

The model speaks in logits, so pCTCVR leaves as its exact logit, -log(e^-a + e^-b + e^(-a-b)).
The last hidden layer of each tower is the task's vector; the tower proper is the Linear above it.
Tasks after the first two have a tower of their own beside the funnel: what a joint run on it needs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.bottoms import Views
from training.errors import DataError
from training.mixer import Link, Mixed, Mixer
from training.mlp import Layers, StackedMLP
from training.split import Split
from training.towers import Towers

FUNNEL = 2  # steps


class EsmmMixer(Mixer):
    """The hidden layers of the T towers on h."""

    def __init__(self, tasks: int, in_width: int, hidden: Layers) -> None:
        super().__init__()
        self.width = hidden.width
        self.hidden = StackedMLP(tasks, in_width, hidden)

    def mix(self, views: Views) -> Mixed:
        return Mixed(self.hidden(views.base), None)

    def represent(self, views: Views) -> tuple[Tensor, Tensor]:
        specific = self.hidden(views.base)  # (T, N, m)
        return specific.mean(dim=0), specific


class FunnelLink(Link):
    """Tower logits (ctr, cvr, ...) to task logits (ctr, ctcvr, ...), labels (click, buy) alike."""

    def forward(self, logits: Tensor) -> Tensor:
        both = product_logit(logits).unsqueeze(1)
        return torch.cat([logits[:, :1], both, logits[:, FUNNEL:]], dim=1)

    def targets(self, labels: Tensor) -> Tensor:
        both = labels[:, :1] * labels[:, 1:FUNNEL]
        return torch.cat([labels[:, :1], both, labels[:, FUNNEL:]], dim=1)


class CtcvrHead(torch.nn.Module):
    """The second task's head: it needs both vectors and both Linears."""

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers.frozen_copy()

    def forward(
        self,
        h_user: Tensor | None,
        h_item: Tensor | None,
        row_user: Tensor,
        shared: Tensor,
        specific: Tensor,
    ) -> Tensor:
        """(N,) logits from specific (N, T, m); the other arguments are not read."""
        return product_logit(self.towers(Split.rows(specific.transpose(0, 1))))


def product_logit(logits: Tensor) -> Tensor:
    """logit(sigmoid(a) sigmoid(b)) of the first two of (N, T), without leaving the logits: (N,)."""
    minus_a, minus_b = -logits[:, 0], -logits[:, 1]
    return -torch.logsumexp(torch.stack([minus_a, minus_b, minus_a + minus_b]), dim=0)


def check_funnel(labels: Tensor, mask: Tensor, *, force: bool) -> None:
    """Refuse labels (R, T) of which the second is not contained in the first.

    Raises:
        DataError: some row has the second label without the first, and force is not set.
    """
    both = mask[:, :FUNNEL].all(dim=1)
    outside = int((both & (labels[:, 1] > labels[:, 0])).sum())
    if outside and not force:
        raise DataError(
            f"esmm: {outside} of {int(both.sum())} rows have the second label without the first,"
            " so the tasks are no funnel; choose another mixer or set model.esmm_force"
        )
