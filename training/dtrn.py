"""The bottom of DTRN (arXiv 2308.05996), as we formulate it: its public text has no equations.

    history --tokens--> transformer conditioned on (task, behaviour) --pooling--> interests i_tb
    r_t = [fields, i_t] --Refinement--> own and gate views;   r_0 = [fields, mean_t i_t] --> base

All on U rows up to the pooling, which meets the candidate. Columns: [user part | item part], each
[dense as one pseudo-field, fields]; interests close the item part, or with mean pooling the user
part.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from contract.schema import FeatureSchema
from training.bottoms import Columns, Span, Views
from training.config import DtrnConfig, ModelConfig
from training.dtrn_pooling import TargetPooling, mean_pooling
from training.dtrn_refine import Refinement
from training.dtrn_transformer import ConditionedTransformer, Conditions
from training.embedding import FeatureEmbedding, known_events
from training.errors import ConfigError
from training.inputs import Inputs
from training.representation import Events
from training.split import Split


class DtrnBottom(nn.Module):
    """Fields beside the interests of each task.

    Raises:
        ConfigError: the schema has no behaviours.
    """

    def __init__(self, schema: FeatureSchema, config: ModelConfig, tasks: int) -> None:
        super().__init__()
        if not schema.behaviours:
            raise ConfigError("bottom 'dtrn' reads behaviour sequences; the schema has none")
        dtrn, d = config.dtrn, config.embedding_dim
        self.tasks = tasks
        self.at_rows = dtrn.pooling == "target"  # where interests stand
        self.embedding = FeatureEmbedding(schema, d, config.init)
        self.fields = FieldColumns(schema, d, counted=config.history_counts)
        self.sequences = Sequences(schema, dtrn, d)
        self.conditions = Conditions(dtrn, tasks, len(schema.behaviours))
        self.transformer = ConditionedTransformer(dtrn)
        self.pooling = TargetPooling(dtrn.width) if self.at_rows else None
        interests = [dtrn.width] * len(schema.behaviours)
        self.user_fields = [d] * self.fields.user + ([] if self.at_rows else interests)
        self.item_fields = [d] * self.fields.item + (interests if self.at_rows else [])
        self.user_width, self.item_width = sum(self.user_fields), sum(self.item_fields)
        # None are told: its dense columns are one field, and interests follow.
        self.spans: dict[str, Span] = {}
        self.dtrn = dtrn
        self.refinement = self.new_refinement(tasks)

    def forward(self, inputs: Inputs) -> Views:
        fields = self.fields(self.embedding, inputs)
        events = self.sequences(self.embedding, inputs.history)
        interests = self.interests(fields, events, self.conditions())  # (T, N or U, M, w)
        stacked = self._beside(fields, interests.flatten(2))
        base = self._beside(fields, interests.mean(dim=0).flatten(1))
        refined = stacked if self.refinement is None else self.refinement(stacked)
        return Views(own=refined, gate=refined, base=base, events=events)

    def new_refinement(self, tasks: int) -> Refinement | None:
        """A refinement that does nothing yet; None if it is switched off."""
        if self.dtrn.trm == "off":
            return None
        doubled = self.dtrn.trm_act == "2sigmoid"
        return Refinement(
            tasks, self.user_fields, self.item_fields, per=self.dtrn.trm, doubled=doubled
        )

    def reading(self, base: Split, events: Events, gamma: Tensor) -> Split:
        """The rows of a base once more, unrefined, with interests under gamma: T' views."""
        fields = self.fields.among(base)
        return self._beside(fields, self.interests(fields, events, gamma).flatten(2))

    def interests(self, fields: Split, events: Events, gamma: Tensor) -> Tensor:
        """(T', N, M, w), or with mean pooling (T', U, M, w), under gamma (T', M, sites, 2, w)."""
        known, last = events.known, gamma[:, :, -1]
        n = self.transformer(events.tokens, known, gamma)  # (T', M, U, L, w)
        empty = known.sum(-1).mT == 0  # (M, U)
        if self.pooling is None:
            pooled = mean_pooling(n, last, known)
        else:
            candidate = self.sequences.candidate(fields.item)
            pooled = self.pooling(n, last, known, candidate, fields.row_user)  # (T', M, N, w)
            empty = empty.index_select(1, fields.row_user)
        nothing = self.sequences.nothing.unsqueeze(1)  # (M, 1, w)
        return torch.where(empty.unsqueeze(-1), nothing, pooled).transpose(1, 2)

    def _beside(self, fields: Split, interests: Tensor) -> Split:
        """Fields and interests in one Split; interests may be T views of (N or U, M * w)."""
        user, item = fields.user, fields.item
        if interests.ndim > user.ndim:
            views = interests.shape[0]  # a traced len is a constant
            user, item = user.expand(views, -1, -1), item.expand(views, -1, -1)
        if self.at_rows:
            item = torch.cat([item, interests], dim=-1) if item.shape[-1] else interests
        else:
            user = torch.cat([user, interests], dim=-1) if user.shape[-1] else interests
        return Split(user, item, fields.row_user)


class FieldColumns(nn.Module):
    """The fields of both places; all dense columns together become one pseudo-field of width d.

    That field stands at U only if every dense column does.
    """

    def __init__(self, schema: FeatureSchema, d: int, *, counted: bool) -> None:
        super().__init__()
        self.d = d
        self.columns = Columns(schema, counted=counted)
        dense = self.columns.user_dense + self.columns.item_dense
        self.dense = nn.Linear(dense, d) if dense else None
        self.dense_at_rows = bool(self.columns.item_dense)
        self.user = self.columns.user_fields + int(bool(dense) and not self.dense_at_rows)
        self.item = self.columns.item_fields + int(self.dense_at_rows)

    def forward(self, embedding: FeatureEmbedding, inputs: Inputs) -> Split:
        user = [embedding.user_fields(inputs).flatten(1)] if self.columns.user_fields else []
        item = [embedding.item_fields(inputs).flatten(1)] if self.columns.item_fields else []
        if self.dense is not None:
            projected = self._projected(inputs, self.dense)
            (item if self.dense_at_rows else user).insert(0, projected)
        nothing = embedding.table.new_empty((0, 0))
        return Split(_beside(user, nothing), _beside(item, nothing), inputs.row_user)

    def among(self, base: Split) -> Split:
        """The fields that stand in a base, in front of the interests."""
        user, item = base.user[:, : self.user * self.d], base.item[:, : self.item * self.d]
        return Split(user, item, base.row_user)

    def _projected(self, inputs: Inputs, dense: nn.Linear) -> Tensor:
        dtype = dense.weight.dtype
        user = self.columns.dense_of_users(inputs)
        if not self.dense_at_rows:
            return torch.nn.functional.linear(user.to(dtype), dense.weight, dense.bias)
        user = user if self.columns.user_dense else inputs.item_dense.new_empty((0, 0))
        x = Split(user.to(dtype), inputs.item_dense.to(dtype), inputs.row_user)
        return x.linear(dense.weight, dense.bias)


class Sequences(nn.Module):
    """Events and candidates as tokens of the transformer, embedded by the same table."""

    def __init__(self, schema: FeatureSchema, config: DtrnConfig, d: int) -> None:
        super().__init__()
        at_item = [f.name for f in schema.at("item") if f.kind != "dense"]
        first = int(bool(schema.dense("item")))  # their pseudo-field stands in front
        self.d = d
        self.attributes = tuple(first + at_item.index(name) for name in schema.history_fields)
        self.token = nn.Linear(len(self.attributes) * d, config.width)
        self.position = nn.Parameter(torch.randn(schema.history_length, config.width) * 0.02)
        self.nothing = nn.Parameter(torch.zeros(len(schema.behaviours), config.width))

    def forward(self, embedding: FeatureEmbedding, history: Tensor) -> Events:
        """The events of history (U, M, L, A)."""
        events = embedding.look_up(history).flatten(3)  # (U, M, L, A * d)
        known = known_events(history).to(events.dtype)
        tokens = self.token(events) + self.position[: history.shape[2]]
        return Events(tokens * known.unsqueeze(-1), known)

    def candidate(self, fields: Tensor) -> Tensor:
        """The rows' items as tokens without a position, (N, w), from their fields (N, Fi * d)."""
        starts = [at * self.d for at in self.attributes]
        chosen = torch.cat([fields[:, start : start + self.d] for start in starts], dim=-1)
        token: Tensor = self.token(chosen)
        return token


def _beside(blocks: list[Tensor], nothing: Tensor) -> Tensor:
    if not blocks:
        return nothing
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1)
