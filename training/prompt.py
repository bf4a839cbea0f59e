"""A new task's head on a frozen backbone: MPT-Rec's stage 2 (arXiv 2408.17214).

    q = LayerNorm(W_2 relu(W_1 h))      a = softmax_t(q . E_t / tau)      z = sum_t a_t specific_t
    g = softmax(W_g h)                  f = g_0 (z * E_new) + g_1 shared  p = sigmoid(tower(f))

Representation --PromptHead--> logits (N,); bank_tensors() is what training/prompt_bank.py serves.
On backbones other than mpt there are no task embeddings: the head brings trainable keys. With
expert_units it adds an expert of its own to f (training/prompt_expert.py), which is all of f where
fusion = "own"; with item_weights, weights of values to the logit (training/prompt_weights.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from training.bottoms import Span
from training.config import TuneConfig
from training.errors import ConfigError
from training.mixer_mpt import fuse
from training.mlp import Layers, StackedMLP
from training.prompt_expert import PromptExpert
from training.prompt_weights import IdColumn, ItemWeights
from training.representation import Representation
from training.split import Split

_SHUT = -1e4  # exp of it is 0 in float32
FIXED_GATE = (0.1, 0.9)  # hard-coded by one revision of the published code
EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class PromptShape:
    """Sizes that a backbone dictates to its prompts."""

    user_width: int  # Du
    item_width: int  # Di
    width: int  # m
    tasks: int  # T
    tower_units: tuple[int, ...]
    own_source: bool = False  # one more vector to attend to, made for the new task
    spans: Mapping[str, Span] = field(default_factory=dict)  # columns of h, by field
    id_columns: Mapping[str, IdColumn] = field(default_factory=dict)  # of the items, by field

    @property
    def input_width(self) -> int:
        """Dh = Du + Di."""
        return self.user_width + self.item_width

    @property
    def hidden(self) -> int:
        """Width between W_1 and W_2."""
        return max(self.width // 2, 1)

    @property
    def sources(self) -> int:
        """How many vectors the attention mixes."""
        return self.tasks + int(self.own_source)


class PromptHead(nn.Module):
    """One new task.

    Args:
        config: fusion, tau, gate, keys, expert and tower.
        shape: MultiTaskModel.prompt_shape().
        keys: Representation.keys, (T, m), or None if the backbone has none.

    Raises:
        ConfigError: prompt_keys = "frozen" on a backbone without keys; a field that is not there.
    """

    def __init__(self, config: TuneConfig, shape: PromptShape, keys: Tensor | None) -> None:
        super().__init__()
        self.shape = shape
        self.tau = config.tau
        self.fusion = config.fusion
        if config.fusion == "attention":
            self.query: Query | None = Query(shape)
        else:
            self.query = None
        self._take_keys(config, keys)
        self.task_embedding: Tensor
        if config.fusion == "own":
            self.register_buffer("task_embedding", torch.zeros(shape.width))
        else:
            self.task_embedding = nn.Parameter(torch.randn(shape.width))
        self.gate: StackedMLP | None = None
        if config.prompt_gate == "learned" and config.fusion != "own":
            gate = Layers((), out=2, bias=False)
            self.gate = StackedMLP(1, shape.input_width, gate, penalised=False)
        self.expert: PromptExpert | None = None
        if config.expert_units:
            unread = _spans(config.expert_without, shape)
            self.expert = PromptExpert(shape.input_width, config.expert_units, shape.width, unread)
        self.item_weights: ItemWeights | None = None
        if config.item_weights:
            self.item_weights = ItemWeights(config.item_weights, shape.id_columns)
        units = shape.tower_units if config.tower_units is None else config.tower_units
        self.tower = StackedMLP(1, shape.width, Layers(units, out=1))

    def _take_keys(self, config: TuneConfig, keys: Tensor | None) -> None:
        if config.prompt_keys == "frozen" and keys is None:
            raise ConfigError(
                "prompt_keys = 'frozen', but this backbone has no task embeddings; use 'auto'"
            )
        self.own_keys = keys is None or config.prompt_keys == "trainable"
        self.keys: Tensor
        start = torch.randn(self.shape.tasks, self.shape.width) if keys is None else keys
        start = start.detach().clone()
        attends = config.fusion in ("attention", "similarity")
        if self.own_keys and attends:
            self.keys = nn.Parameter(start)
        else:
            self.register_buffer("keys", start)
        self.own_key: nn.Parameter | None = None
        if self.shape.own_source and attends:
            self.own_key = nn.Parameter(torch.randn(1, self.shape.width))

    def forward(self, representation: Representation) -> Tensor:
        """Logits (N,)."""
        towered: Tensor = self.tower(Split.rows(self._fused(representation)))  # (1, N, 1)
        logits = towered[0].squeeze(-1)
        if self.item_weights is None:
            return logits
        if representation.item_ids is None:
            raise ValueError("a prompt with item_weights needs Representation.item_ids")
        added: Tensor = self.item_weights(representation.item_ids)
        return logits + added

    def _fused(self, representation: Representation) -> Tensor:
        """f, (N, m)."""
        own: Tensor | None = None if self.expert is None else self.expert(representation.h)
        if self.fusion == "own" and own is not None:
            return own
        if self.fusion == "uniform":  # which may be given the mean in place of all
            mixed = representation.specific.mean(dim=1)  # (N, m)
        else:
            weights = self.attention(representation.h)  # (N, T) or (T,)
            mixed = (weights.unsqueeze(-1) * representation.specific).sum(dim=1)
        gates = self.gates(representation.h)  # (N, 2) or (2,)
        fused = fuse(gates, mixed, self.task_embedding, representation.shared)
        return fused if own is None else fused + own

    def attention(self, h: Split) -> Tensor:
        """Weights of the sources: (N, T), or (T,) where all rows share them."""
        keys = self.keys if self.own_key is None else torch.cat([self.keys, self.own_key])
        if self.query is not None:
            return torch.softmax(self.query(h) @ keys.mT / self.tau, dim=-1)
        if self.fusion == "similarity":
            return torch.softmax(keys @ self.task_embedding / self.tau, dim=-1)
        return self.keys.new_full((self.shape.sources,), 1.0 / self.shape.sources)

    def gates(self, h: Split) -> Tensor:
        """(N, 2), or (2,) if fixed: index 0 weighs the mixture, index 1 the shared vector."""
        if self.fusion == "own":
            return self.task_embedding.new_zeros(2)
        if self.gate is None:
            return self.task_embedding.new_tensor(FIXED_GATE)
        return torch.softmax(self.gate(h)[0], dim=-1)

    def heard(self, representation: Representation) -> Tensor:
        """Weights of the sources and then the two gates, on average over rows: (S + 2,) float64."""
        h = representation.h
        both = (self.attention(h).double(), self.gates(h).double())
        return torch.cat([w.reshape(-1, w.shape[-1]).mean(dim=0) for w in both])

    def trained_parameters(self) -> int:
        """How many numbers tuning learns."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def bank_tensors(self) -> dict[str, Tensor]:
        """The serving form, detached: all fusions and gates as one attention form.

        uniform is W_1 = W_2 = gamma = beta = 0; similarity the same with beta = E_new; the fixed
        gate is a bias without weights; own is E_new = 0 and a gate shut for the shared vector.
        Matrices stand as [in, out]. gamma and beta are divided by tau. Names whose part of h has
        width 0 are left out.
        """
        m, k, d_user = self.shape.width, self.shape.hidden, self.shape.user_width
        zeros = self.task_embedding.new_zeros
        w0, w1 = zeros(self.shape.input_width, k), zeros(k, m)
        gamma, beta = zeros(m), zeros(m)
        if self.query is not None:
            w0, w1 = self.query.first.weights[0][0].mT, self.query.second.weight.mT
            gamma, beta = self.query.norm.weight / self.tau, self.query.norm.bias / self.tau
        elif self.fusion == "similarity":
            beta = self.task_embedding / self.tau
        gate_w, gate_b = zeros(self.shape.input_width, 2), zeros(2)
        if self.gate is not None:
            gate_w = self.gate.weights[0][0].mT
        elif self.fusion == "own":
            gate_b = gate_b.new_tensor((0.0, _SHUT))
        else:
            gate_b = torch.log(gate_b.new_tensor(FIXED_GATE))
        tensors = {
            "query.w0.user": w0[:d_user],
            "query.w0.item": w0[d_user:],
            "query.w1": w1,
            "norm.gamma": gamma,
            "norm.beta": beta,
            "task_emb": self.task_embedding,
            "gate.w0.user": gate_w[:d_user],
            "gate.w0.item": gate_w[d_user:],
            "gate.b0": gate_b,
        }
        if self.expert is not None:
            tensors |= self.expert.bank_tensors(d_user)
        if self.item_weights is not None:
            tensors["item.weights"] = self.item_weights.weights
        tensors |= self.tower.named("tower")
        if self.own_keys:
            tensors["keys"] = self.keys
        if self.shape.own_source:
            tensors["own_key"] = zeros(1, m) if self.own_key is None else self.own_key
        present = {name: t for name, t in tensors.items() if t.numel()}
        return {name: t.detach().contiguous().clone() for name, t in present.items()}


def _spans(fields: Sequence[str], shape: PromptShape) -> list[Span]:
    if unknown := [name for name in fields if name not in shape.spans]:
        raise ConfigError(
            f"tune.expert_without names {', '.join(unknown)}; this backbone tells the columns of"
            f" {sorted(shape.spans)}"
        )
    return [shape.spans[name] for name in fields]


class Query(nn.Module):
    """h to q, (N, m): two Linears without bias, then LayerNorm."""

    def __init__(self, shape: PromptShape) -> None:
        super().__init__()
        first = Layers((shape.hidden,), bias=False)
        self.first = StackedMLP(1, shape.input_width, first, penalised=False)
        self.second = nn.Linear(shape.hidden, shape.width, bias=False)
        self.norm = nn.LayerNorm(shape.width, eps=EPSILON)

    def forward(self, h: Split) -> Tensor:
        query: Tensor = self.norm(self.second(self.first(h)[0]))
        return query
