"""P prompts that condition a DTRN backbone, in one pass: its prompt_head.onnx.

    Representation + events + bank tensors (P, ...) --DtrnPromptBank--> probabilities (N, P)

The conditions of P prompts stand where those of T tasks stand in the backbone, whose transformer,
pooling and experts are constants of the graph. A bank of them takes plain prompts too: conditioned
is 0, r_new gives way to h, and nobody hears o_new. No prompt sees another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from training.dtrn_prompt import dtrn_bottom, own_source, reading
from training.model import MultiTaskModel
from training.prompt_bank import PromptBank, layers
from training.representation import Representation
from training.split import Split

CONDITIONED = "conditioned"  # a tensor that none but such prompts have
_READ_HERE = {CONDITIONED, "condition", "refine", "choice"}  # up to a dot
_ONLY_CONDITIONED = _READ_HERE | {"own_key"}


class DtrnPromptBank(nn.Module):
    """DtrnPrompt.bank_tensors() of P prompts on their backbone.

    Args:
        model: the backbone.
        keys: as PromptBank.
    """

    def __init__(self, model: MultiTaskModel, keys: Tensor | None) -> None:
        super().__init__()
        self.model = model
        self.refinement = dtrn_bottom(model).new_refinement(1)
        self.heads = PromptBank(keys)

    def forward(self, seen: Representation, bank: Mapping[str, Tensor]) -> Tensor:
        """(N, P) probabilities; seen holds events, bank the stacked tensors of P prompts."""
        return self.scores(seen, self.prepared(bank))

    def prepared(self, bank: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As PromptBank.prepared, and what conditions the prompts."""
        own = {
            name: tensor.unsqueeze(1) if name.startswith("refine.b") else tensor
            for name, tensor in bank.items()
            if name.partition(".")[0] in _READ_HERE
        }
        return self.heads.prepared(bank) | own

    def scores(self, seen: Representation, bank: Mapping[str, Tensor]) -> Tensor:
        """(N, P) probabilities; seen holds events, bank is prepared."""
        on = bank[CONDITIONED].unsqueeze(-1)  # (P, 1, 1)
        r_new = self._refined(seen, bank)
        r = on * r_new + (1.0 - on) * seen.h.materialised()  # (P, N, Dh)
        choice = (r @ bank["choice.w"]).flatten(0, 1).unsqueeze(0)  # (1, P * N, X)
        own = own_source(self.model, Split.rows(r.flatten(0, 1)), choice)  # (P * N, m)
        of_row = replace(seen, h=Split.rows(r))
        return self.heads.scores(of_row, bank, own.view(*r.shape[:2], own.shape[-1]))

    def _refined(self, seen: Representation, bank: Mapping[str, Tensor]) -> Tensor:
        """r_new, (P, N, Dh)."""
        r = reading(self.model, seen, bank["condition"])
        if self.refinement is not None:
            z = self.refinement.weighed_by(r).materialised()  # (P, N, inputs)
            r = self.refinement.refined(r, layers(z, bank, "refine"))
        return r.materialised()


def beside_conditioned(
    plain: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """A plain prompt as a bank of conditioned ones takes it: h in one part, no condition.

    Args:
        plain: PromptHead.bank_tensors().
        shapes: of a conditioned prompt's tensors.
    """
    whole: dict[str, Tensor] = {}
    for name, tensor in plain.items():
        joined = f"{name.removesuffix('.user')}.item" if name.endswith(".user") else name
        whole[joined] = torch.cat([whole[joined], tensor]) if joined in whole else tensor
    return whole | {
        name: torch.zeros(shape)
        for name, shape in shapes.items()
        if name.partition(".")[0] in _ONLY_CONDITIONED
    }
