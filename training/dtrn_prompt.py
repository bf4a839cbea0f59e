"""A prompt that conditions a frozen DTRN backbone on the new task; ours, beside the plain prompt.

    u_new --frozen hypernetwork--> gamma_new --frozen transformer--> interests
    [fields, interests] --Refinement_new--> r_new (in place of h)
    o_new = sum_x softmax(W_x r_new)_x f_x(r_new) over all frozen experts: one more source

Representation with its events --DtrnPrompt--> logits (N,); bank_tensors() is what
training/dtrn_bank.py serves. It costs about as much as one more task of the backbone, and there is
no cache of all events, so the backbone runs along while it is tuned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config import TuneConfig
from training.dtrn import DtrnBottom
from training.errors import ConfigError
from training.mixer import mix_pool
from training.mlp import Layers, StackedMLP
from training.model import MultiTaskModel
from training.prompt import PromptHead, PromptShape
from training.representation import Representation
from training.split import Split


class DtrnPrompt(nn.Module):
    """What a new task learns on a frozen, not yet baked DTRN backbone.

    Raises:
        ConfigError: the bottom is not dtrn, or the mixer has no single layer of experts.
    """

    def __init__(self, config: TuneConfig, model: MultiTaskModel) -> None:
        super().__init__()
        bottom = dtrn_bottom(model)
        if bottom.conditions.network is None:
            raise ConfigError("a DTRN prompt needs the hypernetwork; this backbone is baked")
        self._backbone = (model,)  # in a tuple it stays out of the parameters
        width = bottom.user_width + bottom.item_width
        self.task = nn.Parameter(bottom.conditions.task.detach().mean(dim=0))  # u_new, (d_c,)
        self.refinement = bottom.new_refinement(1)
        experts = sum(stack.groups for stack in model.mixer.expert_stacks())
        self.choice = StackedMLP(1, width, Layers((), out=experts, bias=False), penalised=False)
        plain = model.prompt_shape()
        shape = PromptShape(
            user_width=0,  # r_new is of the row alone
            item_width=width,
            width=plain.width,
            tasks=plain.tasks,
            tower_units=plain.tower_units,
            own_source=True,
        )
        self.head = PromptHead(config, shape, model.mixer.keys)

    @property
    def tower(self) -> StackedMLP:
        """The head's."""
        return self.head.tower

    def forward(self, seen: Representation) -> Tensor:
        """Logits (N,); seen holds events."""
        r_new = self.refined(seen)
        own = own_source(self._backbone[0], r_new, self.choice(r_new)).unsqueeze(1)  # (N, 1, m)
        specific = torch.cat([seen.specific, own], dim=1)
        logits: Tensor = self.head(Representation(r_new, seen.shared, specific, seen.keys))
        return logits

    def refined(self, seen: Representation) -> Split:
        """r_new, one view of N rows, each of its own."""
        r = reading(self._backbone[0], seen, self._condition())
        refined = r if self.refinement is None else self.refinement(r)
        return Split.rows(refined.materialised().squeeze(0))

    def heard(self, seen: Representation) -> Tensor:
        """As PromptHead.heard; the last source is the prompt's own."""
        r_new = self.refined(seen)
        return self.head.heard(Representation(r_new, seen.shared, seen.specific, seen.keys))

    def trained_parameters(self) -> int:
        """How many numbers tuning learns."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @torch.no_grad()
    def bank_tensors(self) -> dict[str, Tensor]:
        """The head's serving form, and what the hypernetwork makes of the task; matrices [in, out].

        conditioned is 1: a plain prompt in the same bank has 0 (training/dtrn_bank.py).
        """
        tensors = {
            "conditioned": self.task.new_ones(1),
            "condition": self._condition()[0],  # (M, sites, 2, w)
            "choice.w": self.choice.weights[0][0].mT,  # (Dh, X)
        }
        if self.refinement is not None:
            tensors |= self.refinement.weigh.named("refine")
        own = {name: t.detach().contiguous().clone() for name, t in tensors.items()}
        return self.head.bank_tensors() | own

    def _condition(self) -> Tensor:
        """What the hypernetwork makes of u_new, (1, M, sites, 2, w)."""
        return dtrn_bottom(self._backbone[0]).conditions.of_tasks(self.task.unsqueeze(0))


def reading(model: MultiTaskModel, seen: Representation, condition: Tensor) -> Split:
    """Seen rows under conditions (P, M, sites, 2, w), unrefined: P views."""
    if seen.events is None:
        raise ValueError("a DTRN prompt reads events, which this representation lacks")
    return dtrn_bottom(model).reading(seen.h, seen.events, condition)


def own_source(model: MultiTaskModel, rows: Split, choice: Tensor) -> Tensor:
    """The frozen experts on R rows, mixed by the softmax of choice (1, R, X): (R, m)."""
    experts = torch.cat([stack(rows) for stack in model.mixer.expert_stacks()])  # (X, R, m)
    return mix_pool(torch.softmax(choice, dim=-1), experts)[0]


def takes_dtrn_prompts(model: MultiTaskModel) -> bool:
    """Whether a DtrnPrompt can be made for this backbone."""
    if not isinstance(model.bottom, DtrnBottom) or model.bottom.conditions.network is None:
        return False
    try:
        model.mixer.expert_stacks()
    except ConfigError:
        return False
    return True


def new_prompt(config: TuneConfig, model: MultiTaskModel) -> PromptHead | DtrnPrompt:
    """An untrained prompt of the kind that is configured.

    Raises:
        ConfigError: tune.dtrn on a backbone that has no such prompts.
    """
    if config.dtrn:
        return DtrnPrompt(config, model)
    return PromptHead(config, model.prompt_shape(), model.mixer.keys)


def dtrn_bottom(model: MultiTaskModel) -> DtrnBottom:
    """Raises ConfigError for a model without."""
    if not isinstance(model.bottom, DtrnBottom):
        raise ConfigError(
            f"a DTRN prompt needs the bottom 'dtrn', not {model.config.bottom!r};"
            " tune a plain prompt"
        )
    return model.bottom
