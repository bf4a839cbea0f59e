"""A prompt that conditions a frozen DTRN backbone on the new task; ours, beside the plain prompt.

    u_new --frozen hypernetwork--> gamma_new --frozen transformer--> interests
    [fields, interests] --Refinement_new--> r_new (in place of h)
    o_new = sum_x softmax(W_x r_new)_x f_x(r_new) over all frozen experts: one more source

It reads inputs, not only a Representation: about the cost of one more task of the backbone, and no
cache while it is tuned. It has no graph yet: it can be tuned and measured, not exported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config import TuneConfig
from training.dtrn import DtrnBottom
from training.errors import ConfigError
from training.inputs import Inputs
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
        bottom = _dtrn(model)
        if bottom.conditions.network is None:
            raise ConfigError("a DTRN prompt needs the hypernetwork; this backbone is baked")
        width = bottom.user_width + bottom.item_width
        self.task = nn.Parameter(bottom.conditions.task.detach().mean(dim=0))  # u_new, (d_c,)
        self.refinement = bottom.new_refinement(1)
        experts = sum(stack.groups for stack in model.mixer.expert_stacks())
        self.choice = StackedMLP(1, width, Layers((), out=experts, bias=False), penalised=False)
        plain = model.prompt_shape()
        refined = self.refinement is not None  # and so of the row alone
        shape = PromptShape(
            user_width=0 if refined else plain.user_width,
            item_width=width if refined else plain.item_width,
            width=plain.width,
            tasks=plain.tasks,
            tower_units=plain.tower_units,
            own_source=True,
        )
        self.head = PromptHead(config, shape, model.mixer.keys)

    def forward(self, model: MultiTaskModel, inputs: Inputs) -> Tensor:
        """Logits (N,); model is the frozen backbone, in eval mode."""
        with torch.no_grad():
            seen = model.represent(inputs)
        r_new = self.refined(model, inputs)
        own = self._own_source(model, r_new).unsqueeze(1)  # (N, 1, m)
        specific = torch.cat([seen.specific, own], dim=1)
        logits: Tensor = self.head(Representation(r_new, seen.shared, specific, seen.keys))
        return logits

    def refined(self, model: MultiTaskModel, inputs: Inputs) -> Split:
        """r_new, one view of N rows."""
        bottom = _dtrn(model)
        gamma = bottom.conditions.of_tasks(self.task.unsqueeze(0))  # (1, M, sites, 2, w)
        r = bottom.unrefined(inputs, gamma)
        return (r if self.refinement is None else self.refinement(r)).unstacked()

    def trained_parameters(self) -> int:
        """How many numbers tuning learns."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def bank_tensors(self) -> dict[str, Tensor]:
        """There is no serving form.

        Raises:
            ConfigError: always.
        """
        return self.head.bank_tensors()

    def _own_source(self, model: MultiTaskModel, r_new: Split) -> Tensor:
        experts = torch.cat([stack(r_new) for stack in model.mixer.expert_stacks()])  # (X, N, m)
        weights = torch.softmax(self.choice(r_new), dim=-1)  # (1, N, X)
        return mix_pool(weights, experts)[0]


class BoundPrompt(nn.Module):
    """A DTRN prompt with its backbone at hand, which stays out of its parameters."""

    def __init__(self, prompt: DtrnPrompt, model: MultiTaskModel) -> None:
        super().__init__()
        self.prompt = prompt
        self._model = (model,)

    @property
    def tower(self) -> StackedMLP:
        return self.prompt.head.tower

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits (N,)."""
        logits: Tensor = self.prompt(self._model[0], inputs)
        return logits


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


def _dtrn(model: MultiTaskModel) -> DtrnBottom:
    if not isinstance(model.bottom, DtrnBottom):
        raise ConfigError(
            f"a DTRN prompt needs the bottom 'dtrn', not {model.config.bottom!r};"
            " tune a plain prompt"
        )
    return model.bottom
