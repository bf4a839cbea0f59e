"""From inputs to the three views that mixers read.

    Inputs --PlainBottom | StemBottom--> Views(own, gate, base)

own feeds the experts of one task, gate the gates (and the experts of mixers without own ones), base
the shared experts and Representation.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from contract.schema import FeatureSchema, Place
from training.config import ModelConfig
from training.embedding import FeatureEmbedding, behaviour_counts
from training.inputs import Inputs
from training.representation import Events
from training.split import Split, unflatten

Span = tuple[int, int]  # first column, and the one after the last


@dataclass(frozen=True, slots=True)
class Views:
    """Three views of one width. own and gate are one view for all tasks, or T stacked views."""

    own: Split
    gate: Split
    base: Split
    events: Events | None = None  # of a dtrn bottom

    @property
    def coincide(self) -> bool:
        """Whether all tasks read the same input, so an expert is evaluated once."""
        return not self.own.stacked


class PlainBottom(nn.Module):
    """h for everything: dense columns and embeddings side by side."""

    def __init__(self, schema: FeatureSchema, config: ModelConfig) -> None:
        super().__init__()
        d = config.embedding_dim
        self.embedding = FeatureEmbedding(schema, d, config.init)
        self.columns = Columns(schema, counted=config.history_counts)
        self.user_width, self.item_width = self.columns.widths(d)
        self.spans = self.columns.spans(schema, d)

    def forward(self, inputs: Inputs) -> Views:
        user = self.columns.user(self.embedding, inputs, 1).squeeze(0)
        item = self.columns.item(self.embedding, inputs, 1).squeeze(0)
        h = Split(user, item, inputs.row_user)
        return Views(own=h, gate=h, base=h)


class StemBottom(nn.Module):
    """T + 1 tables per field, stored side by side: task 0 .. T-1, then the shared one.

    STEM-Net (arXiv 2308.13537): a task's experts read its own embeddings x_t, the shared experts
    x_0, the gates x_t + x_0. Dense columns stand in front of each, taken once in the sum.
    """

    def __init__(self, schema: FeatureSchema, config: ModelConfig, tasks: int) -> None:
        super().__init__()
        d = config.embedding_dim
        self.tasks = tasks
        self.embedding = FeatureEmbedding(schema, d * (tasks + 1), config.init)
        self.columns = Columns(schema, counted=config.history_counts)
        self.user_width, self.item_width = self.columns.widths(d)
        self.spans = self.columns.spans(schema, d)

    def forward(self, inputs: Inputs) -> Views:
        user = self.columns.user(self.embedding, inputs, self.tasks + 1)
        item = self.columns.item(self.embedding, inputs, self.tasks + 1)
        row_user, t = inputs.row_user, self.tasks
        return Views(
            own=Split(user[:t], item[:t], row_user),
            gate=Split(
                self._plus_shared(user, self.columns.user_dense),
                self._plus_shared(item, self.columns.item_dense),
                row_user,
            ),
            base=Split(user[t], item[t], row_user),
        )

    def _plus_shared(self, blocks: Tensor, dense: int) -> Tensor:
        """x_t + x_0 of the embedded columns, the dense ones as they are."""
        own, shared = blocks[: self.tasks], blocks[self.tasks]
        summed = own[..., dense:] + shared[..., dense:]
        return torch.cat([own[..., :dense], summed], dim=-1) if dense else summed


class Columns:
    """Puts the blocks of a place side by side: dense, fields, and at U the behaviour means.

    Args:
        schema: what there is.
        counted: whether the lengths of the histories are dense columns of the user, the last ones.
    """

    def __init__(self, schema: FeatureSchema, *, counted: bool) -> None:
        self.counted = counted and bool(schema.behaviours)
        self.longest = schema.history_length
        counts = len(schema.behaviours) if self.counted else 0
        self.user_dense = len(schema.dense("user")) + counts
        self.item_dense = len(schema.dense("item"))
        self.user_fields = len(schema.at("user")) - len(schema.dense("user"))
        self.item_fields = len(schema.at("item")) - self.item_dense
        self.behaviours = len(schema.behaviours) * len(schema.history_fields)

    def widths(self, d: int) -> tuple[int, int]:
        """Du and Di at embedding width d."""
        user = self.user_dense + (self.user_fields + self.behaviours) * d
        return user, self.item_dense + self.item_fields * d

    def spans(self, schema: FeatureSchema, d: int) -> dict[str, Span]:
        """The columns of each field that is looked up, the user part standing in front."""
        found: dict[str, Span] = {}
        starts: tuple[tuple[Place, int], ...] = (
            ("user", self.user_dense),
            ("item", self.widths(d)[0] + self.item_dense),
        )
        for place, start in starts:
            fields = [field for field in schema.at(place) if field.kind != "dense"]
            found |= {
                field.name: (start + at * d, start + (at + 1) * d)
                for at, field in enumerate(fields)
            }
        return found

    def user(self, embedding: FeatureEmbedding, inputs: Inputs, chunks: int) -> Tensor:
        """(C, U, Du): one block for each of the C chunks of the table."""
        embedded = [embedding.user_fields(inputs)] if self.user_fields else []
        if self.behaviours:
            embedded.append(embedding.behaviour_means(inputs.history))
        dense = self.dense_of_users(inputs) if self.user_dense else None
        return self._side_by_side(dense, embedded, embedding.table, chunks)

    def dense_of_users(self, inputs: Inputs) -> Tensor:
        """The users' dense columns, (U, user_dense)."""
        if not self.counted:
            return inputs.user_dense
        counts = behaviour_counts(inputs.history, self.longest)
        return torch.cat([inputs.user_dense, counts], dim=-1)

    def item(self, embedding: FeatureEmbedding, inputs: Inputs, chunks: int) -> Tensor:
        """(C, N, Di)."""
        embedded = [embedding.item_fields(inputs)] if self.item_fields else []
        dense = inputs.item_dense if self.item_dense else None
        return self._side_by_side(dense, embedded, embedding.table, chunks)

    def _side_by_side(
        self, dense: Tensor | None, embedded: Sequence[Tensor], table: Tensor, chunks: int
    ) -> Tensor:
        blocks = []
        if dense is not None:
            blocks.append(dense.to(table.dtype).expand(chunks, -1, -1))
        for fields in embedded:  # (R, F, C * d)
            by_chunk = unflatten(fields, -1, chunks).permute(2, 0, 1, 3)  # (C, R, F, d)
            blocks.append(by_chunk.flatten(2))
        if not blocks:
            return table.new_empty((chunks, 0, 0))
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1)
