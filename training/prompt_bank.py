"""P prompts of one shape, scored in one batched pass: the module that becomes prompt_head.onnx.

    Representation.tensors() + bank tensors (P, ...) --PromptBank--> probabilities (N, P)

The prompts are inputs, not parameters: grafting a task changes data, never the graph. No prompt
sees another, so adding or removing one changes no other column.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.prompt import EPSILON


class PromptBank(nn.Module):
    """The attention form of all fusions (training/prompt.py), stacked over P.

    Args:
        keys: the backbone's task embeddings (T, m), or None if each prompt brings its own.
    """

    def __init__(self, keys: Tensor | None) -> None:
        super().__init__()
        self.keys: Tensor | None
        self.register_buffer("keys", None if keys is None else keys.detach().clone())

    def forward(
        self,
        h_user: Tensor | None,
        h_item: Tensor | None,
        row_user: Tensor,
        shared: Tensor,
        specific: Tensor,
        bank: Mapping[str, Tensor],
    ) -> Tensor:
        """(N, P) probabilities.

        Args:
            h_user: (U, Du), None if Du is 0.
            h_item: (N, Di), None if Di is 0.
            row_user: (N,).
            shared: (N, m).
            specific: (N, T, m).
            bank: PromptHead.bank_tensors() of P prompts, stacked along a leading axis.
        """
        h = (h_user, h_item, row_user)
        hidden = torch.relu(_linear(h, bank, "query.w0")) @ bank["query.w1"]  # (P, N, m)
        query = functional.layer_norm(hidden, hidden.shape[-1:], eps=EPSILON)
        query = query * bank["norm.gamma"].unsqueeze(1) + bank["norm.beta"].unsqueeze(1)
        keys = bank["keys"] if "keys" in bank else self._backbone_keys()  # (P, T, m) or (T, m)
        weights = torch.softmax(query @ keys.mT, dim=-1)  # (P, N, T)
        mixed = (weights.transpose(0, 1) @ specific).transpose(0, 1)  # (P, N, m)
        gate_logits = _linear(h, bank, "gate.w0") + bank["gate.b0"].unsqueeze(1)
        gates = torch.softmax(gate_logits, dim=-1)  # (P, N, 2)
        masked = mixed * bank["task_emb"].unsqueeze(1)
        x = gates[..., :1] * masked + gates[..., 1:] * shared  # (P, N, m)
        if "expert.b0" in bank:
            own = _linear(h, bank, "expert.w0") + bank["expert.b0"].unsqueeze(1)
            x = x + _layers(torch.relu(own), bank, "expert", first=1)
        return torch.sigmoid(_layers(x, bank, "tower").squeeze(-1)).transpose(0, 1)  # (N, P)

    def _backbone_keys(self) -> Tensor:
        if self.keys is None:
            raise ValueError("this backbone has no keys, and the bank lacks the tensor 'keys'")
        return self.keys


def _layers(x: Tensor, bank: Mapping[str, Tensor], name: str, first: int = 0) -> Tensor:
    """The Linears from `first` to the last, a ReLU between any two of them: (P, N, o)."""
    count = sum(tensor.startswith(f"{name}.b") for tensor in bank)
    for layer in range(first, count):
        x = x @ bank[f"{name}.w{layer}"] + bank[f"{name}.b{layer}"].unsqueeze(1)
        if layer < count - 1:
            x = torch.relu(x)
    return x


def _linear(
    h: tuple[Tensor | None, Tensor | None, Tensor], bank: Mapping[str, Tensor], name: str
) -> Tensor:
    """W h for P weights, the user half on U rows: (P, N, o)."""
    user, item, row_user = h
    if user is None:
        if item is None:
            raise ValueError("h_user and h_item are both None; at least one part of h has columns")
        return item @ bank[f"{name}.item"]
    gathered = (user @ bank[f"{name}.user"]).index_select(1, row_user)  # (P, U, o) -> (P, N, o)
    return gathered if item is None else gathered + item @ bank[f"{name}.item"]
