"""P prompts of one shape, scored in one batched pass: the module that becomes prompt_head.onnx.

    bank_tensors (P, ...) --PromptBank.prepared--> what depends on no row, once per prompt
    Representation + prepared --PromptBank.scores--> probabilities (N, P)

The prompts are inputs, not parameters: grafting a task changes data, never the graph. No prompt
sees another, so adding or removing one changes no other column.

With q = relu(W_1 h) and W_2' = W_2 less its mean over outputs, the logits of attention are

    LayerNorm(W_2 q) . E_t = q . (W_2' (gamma * E_t)) / sqrt(q' G q + eps) + beta . E_t

where G = W_2'^T W_2' / m: products of width k = m / 2 instead of m. A softmax over two gates is a
sigmoid of their difference, and the last layer of a prompt's expert runs into its tower's first.
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
Bank = Mapping[str, Tensor]


class PromptBank(nn.Module):
    """The attention form of all fusions (training/prompt.py), stacked over P.

    Args:
        keys: the backbone's task embeddings (T, m), or None if each prompt brings its own.
    """

    def __init__(self, keys: Tensor | None) -> None:
        super().__init__()
        self.keys: Tensor | None
        self.register_buffer("keys", None if keys is None else keys.detach().clone())

    def forward(self, seen: Representation, bank: Bank, own: Tensor | None = None) -> Tensor:
        """(N, P) probabilities, straight from bank_tensors; arguments as scores."""
        values = {name: bank[name] for name in ("item_values",) if name in bank}
        return self.scores(seen, self.prepared(bank) | values, own)

    def prepared(self, bank: Bank) -> dict[str, Tensor]:
        """What scores reads of P prompts, each tensor with a leading P.

        Args:
            bank: PromptHead.bank_tensors() of P prompts, stacked along a leading axis.
        """
        found = _first(bank) | self._attention(bank) | _tower(bank)
        found["mask"] = bank["task_emb"]
        return found | {name: bank[name] for name in ("item.weights",) if name in bank}

    def scores(self, seen: Representation, bank: Bank, own: Tensor | None = None) -> Tensor:
        """(N, P) probabilities.

        Args:
            seen: N rows; h may be rows of each prompt's own, (P, N, Dh).
            bank: prepared; where it has item.weights (P, W), also item_values (N, X) int32, the
                rows' places in them.
            own: (P, N, m), one more source of each prompt; one that is not conditioned is deaf to
                it.
        """
        tasks = seen.specific.shape[1]
        query = torch.relu(_linear(seen.h, bank, "query"))  # (P, N, k)
        variance = torch.relu(((query @ bank["query.gram"]) * query).sum(dim=-1))  # (P, N)
        deviation = torch.sqrt(variance + EPSILON).unsqueeze(-1)
        logits = (query @ bank["query.keys"]) / deviation + bank["query.offset"]  # (P, N, S)
        # The weight of what is mixed, (N, P, 1). One product for all prompts would be quicker, and
        # would round by how many they are.
        gate = torch.sigmoid(_linear(seen.h, bank, "gate")).transpose(0, 1)
        weights = torch.softmax(logits, dim=-1).transpose(0, 1) * gate  # (N, P, S)
        mixed = weights[..., :tasks] @ seen.specific  # (N, P, m)
        if own is not None:
            mixed = mixed + weights[..., tasks:] * own.transpose(0, 1)
        x = mixed * bank["mask"] + (1.0 - gate) * seen.shared.unsqueeze(1)
        # One product per prompt reads its rows where they stand: nothing is copied for it.
        y = x.transpose(0, 1) @ bank["tower.w0"]  # (P, N, u)
        if "expert.out" in bank:
            inner = torch.relu(_linear(seen.h, bank, "expert"))
            if "inner.b0" in bank:
                inner = torch.relu(layers(inner, bank, "inner"))
            y = y + inner @ bank["expert.out"]
        else:
            y = y + bank["tower.b0"]
        if "tower.w1" in bank:
            y = layers(torch.relu(y), bank, "tower", first=1)
        found = y.squeeze(-1)  # (P, N), logits
        if "item.weights" in bank:
            values = bank["item_values"]
            chosen = bank["item.weights"].index_select(1, values.flatten())  # (P, N * X)
            found = found + unflatten(chosen, 1, values.shape[0]).sum(dim=-1)
        return torch.sigmoid(found).transpose(0, 1)  # (N, P)

    def _attention(self, bank: Bank) -> dict[str, Tensor]:
        """G, (P, k, k), and what the keys of S sources become, (P, k, S) and (P, 1, S)."""
        centred = bank["query.w1"] - bank["query.w1"].mean(dim=-1, keepdim=True)  # (P, k, m)
        keys = self._keys(bank)  # (P, S, m)
        gram = centred @ centred.mT / centred.shape[-1]
        through = centred @ (keys * bank["norm.gamma"].unsqueeze(1)).mT
        offset = (keys @ bank["norm.beta"].unsqueeze(-1)).mT  # (P, 1, S)
        if "own_key" in bank:
            deaf = ((bank["conditioned"] - 1.0) * _UNHEARD).unsqueeze(-1)  # (P, 1, 1)
            offset = torch.cat([offset[..., :-1], offset[..., -1:] + deaf], dim=-1)
        return {"query.gram": gram, "query.keys": through, "query.offset": offset}

    def _keys(self, bank: Bank) -> Tensor:
        """Of all sources, (P, S, m)."""
        if "keys" in bank:
            keys = bank["keys"]
        elif self.keys is not None:
            keys = self.keys.expand(bank["query.w1"].shape[0], -1, -1)
        else:
            raise ValueError("this backbone has no keys, and the bank lacks the tensor 'keys'")
        return torch.cat([keys, bank["own_key"]], dim=1) if "own_key" in bank else keys


def layers(x: Tensor, bank: Bank, name: str, first: int = 0) -> Tensor:
    """The Linears from `first` to the last, a ReLU between any two of them: (P, N, o).

    Weights are (P, i, o), biases (P, 1, o).
    """
    count = sum(tensor.startswith(f"{name}.w") for tensor in bank)
    for layer in range(first, count):
        x = x @ bank[f"{name}.w{layer}"] + bank[f"{name}.b{layer}"]
        if layer < count - 1:
            x = torch.relu(x)
    return x


def _first(bank: Bank) -> dict[str, Tensor]:
    """What query and gate read h by: (P, D, k), and one column for the gates' difference."""
    found = {"gate.bias": _difference(bank["gate.b0"]).unsqueeze(1)}
    for side in ("user", "item"):
        if f"gate.w0.{side}" in bank:
            found[f"query.{side}"] = bank[f"query.w0.{side}"]
            found[f"gate.{side}"] = _difference(bank[f"gate.w0.{side}"])
    return found


def _difference(pair: Tensor) -> Tensor:
    """What a sigmoid reads where a softmax read two."""
    return pair[..., :1] - pair[..., 1:]


def _tower(bank: Bank) -> dict[str, Tensor]:
    """The tower, and the expert, whose last layer runs into it and brings its first bias.

    To that end the expert's last hidden layer has one unit more, which is always 1.
    """
    found = {name: tensor for name, tensor in bank.items() if name.startswith("tower.w")}
    found |= {n: tensor.unsqueeze(1) for n, tensor in bank.items() if n.startswith("tower.b")}
    last = sum(name.startswith("expert.b") for name in bank) - 1
    if last < 0:
        return found
    into = bank["tower.w0"]
    bias = found.pop("tower.b0") + bank[f"expert.b{last}"].unsqueeze(1) @ into
    found["expert.out"] = torch.cat([bank[f"expert.w{last}"] @ into, bias], dim=1)
    for side in ("user", "item"):
        if f"expert.w0.{side}" in bank:
            found[f"expert.{side}"] = _wider(bank[f"expert.w0.{side}"], 0.0, is_wanted=last == 1)
    found["expert.bias"] = _wider(bank["expert.b0"].unsqueeze(1), 1.0, is_wanted=last == 1)
    for layer in range(1, last):
        is_last = layer == last - 1
        found[f"inner.w{layer - 1}"] = _wider(bank[f"expert.w{layer}"], 0.0, is_wanted=is_last)
        found[f"inner.b{layer - 1}"] = _wider(
            bank[f"expert.b{layer}"].unsqueeze(1), 1.0, is_wanted=is_last
        )
    return found


def _wider(tensor: Tensor, by: float, *, is_wanted: bool) -> Tensor:
    """One column more, of a constant."""
    return functional.pad(tensor, (0, 1), value=by) if is_wanted else tensor


def _linear(h: Split, bank: Bank, name: str) -> Tensor:
    """W h + b for P weights, the user half on U rows: (P, N, o)."""
    bias = bank.get(f"{name}.bias")
    if not h.user.shape[-1]:
        rows = h.item @ bank[f"{name}.item"]
        return rows if bias is None else rows + bias
    on_users = h.user @ bank[f"{name}.user"]  # (P, U, o)
    on_users = on_users if bias is None else on_users + bias
    gathered = on_users.index_select(1, h.row_user)  # (P, N, o)
    return gathered + h.item @ bank[f"{name}.item"] if h.item.shape[-1] else gathered
