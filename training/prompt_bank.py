"""P prompts of one shape, scored in one batched pass: the module that becomes prompt_head.onnx.

    Representation + bank tensors (P, ...) --PromptBank--> probabilities (N, P)

The prompts are inputs, not parameters: grafting a task changes data, never the graph. No prompt
sees another, so adding or removing one changes no other column.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.prompt import EPSILON
from training.representation import Representation
from training.split import Split, unflatten

_UNHEARD = 1e9  # so far below any logit, its softmax is exactly 0


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
        self, seen: Representation, bank: Mapping[str, Tensor], own: Tensor | None = None
    ) -> Tensor:
        """(N, P) probabilities.

        Args:
            seen: N rows; h may be rows of each prompt's own, (P, N, Dh).
            bank: PromptHead.bank_tensors() of P prompts, stacked along a leading axis; where that
                has item.weights (P, W), also item_values (N, X) int32, the rows' places in them.
            own: (P, N, m), one more source of each prompt; one that is not conditioned is deaf to
                it.
        """
        h, specific = seen.h, seen.specific
        hidden = torch.relu(_linear(h, bank, "query.w0")) @ bank["query.w1"]  # (P, N, m)
        query = functional.layer_norm(hidden, hidden.shape[-1:], eps=EPSILON)
        query = query * bank["norm.gamma"].unsqueeze(1) + bank["norm.beta"].unsqueeze(1)
        keys = bank["keys"] if "keys" in bank else self._backbone_keys()  # (P, T, m) or (T, m)
        logits = query @ keys.mT  # (P, N, T)
        if own is not None:
            deaf = (bank["conditioned"].unsqueeze(-1) - 1.0) * _UNHEARD  # (P, 1, 1)
            logits = torch.cat([logits, query @ bank["own_key"].mT + deaf], dim=-1)
        weights = torch.softmax(logits, dim=-1)
        on_tasks = weights[..., : specific.shape[1]]
        mixed = (on_tasks.transpose(0, 1) @ specific).transpose(0, 1)  # (P, N, m)
        if own is not None:
            mixed = mixed + weights[..., -1:] * own
        gate_logits = _linear(h, bank, "gate.w0") + bank["gate.b0"].unsqueeze(1)
        gates = torch.softmax(gate_logits, dim=-1)  # (P, N, 2)
        masked = mixed * bank["task_emb"].unsqueeze(1)
        x = gates[..., :1] * masked + gates[..., 1:] * seen.shared  # (P, N, m)
        if "expert.b0" in bank:
            inner = _linear(h, bank, "expert.w0") + bank["expert.b0"].unsqueeze(1)
            x = x + layers(torch.relu(inner), bank, "expert", first=1)
        scores = layers(x, bank, "tower").squeeze(-1)  # (P, N), logits
        if "item.weights" in bank:
            values = bank["item_values"]
            chosen = bank["item.weights"].index_select(1, values.flatten())  # (P, N * X)
            scores = scores + unflatten(chosen, 1, values.shape[0]).sum(dim=-1)
        return torch.sigmoid(scores).transpose(0, 1)  # (N, P)

    def _backbone_keys(self) -> Tensor:
        if self.keys is None:
            raise ValueError("this backbone has no keys, and the bank lacks the tensor 'keys'")
        return self.keys


def layers(x: Tensor, bank: Mapping[str, Tensor], name: str, first: int = 0) -> Tensor:
    """The Linears from `first` to the last, a ReLU between any two of them: (P, N, o)."""
    count = sum(tensor.startswith(f"{name}.b") for tensor in bank)
    for layer in range(first, count):
        x = x @ bank[f"{name}.w{layer}"] + bank[f"{name}.b{layer}"].unsqueeze(1)
        if layer < count - 1:
            x = torch.relu(x)
    return x


def _linear(h: Split, bank: Mapping[str, Tensor], name: str) -> Tensor:
    """W h for P weights, the user half on U rows: (P, N, o)."""
    if not h.user.shape[-1]:
        return h.item @ bank[f"{name}.item"]
    on_users = h.user @ bank[f"{name}.user"]  # (P, U, o)
    gathered = on_users.index_select(1, h.row_user)  # (P, N, o)
    return gathered + h.item @ bank[f"{name}.item"] if h.item.shape[-1] else gathered
