"""Small worlds for module tests: a schema with every kind of field, and random calls on it."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from contract.schema import (
    CategoricalField,
    DenseField,
    FeatureField,
    FeatureSchema,
    MultiValuedField,
    VocabularySpec,
)
from training.inputs import Inputs

D = 4
SIZES = {"user": 9, "item": 17, "genre": 6}
HISTORY = 5


def schema(*, behaviours: bool = True) -> FeatureSchema:
    """User, item, genres, a price and an age; the dense fields stand between the others."""
    columns: tuple[FeatureField, ...] = (
        CategoricalField(name="user", side="user", vocabulary="user"),
        DenseField(name="age", side="user", minimum=0.0, maximum=1.0),
        MultiValuedField(name="tastes", side="context", vocabulary="genre", max_values=2),
        CategoricalField(name="item", side="item", vocabulary="item"),
        MultiValuedField(name="genres", side="item", vocabulary="genre", max_values=3),
        DenseField(name="price", side="item", minimum=0.0, maximum=1.0),
        CategoricalField(name="genre", side="item", vocabulary="genre"),
    )
    return FeatureSchema(
        vocabularies=tuple(VocabularySpec(name=n, type="int64", size=s) for n, s in SIZES.items()),
        fields=columns,
        behaviours=("click", "like") if behaviours else (),
        history_length=HISTORY if behaviours else 0,
        history_fields=("item", "genre") if behaviours else (),
        user_id_type="int64",
        item_id_type="int64",
        user_id_field="user",
        item_id_field="item",
    )


def categorical_schema(sizes: list[int], dense: int = 0) -> FeatureSchema:
    """Item-side fields only: every column of h stands at N."""
    names = [f"f{i}" for i in range(len(sizes))]
    numbers = [
        DenseField(name=f"x{i}", side="item", minimum=0.0, maximum=1.0) for i in range(dense)
    ]
    ids = [CategoricalField(name=n, side="item", vocabulary=n) for n in names]
    return FeatureSchema(
        vocabularies=tuple(
            VocabularySpec(name=n, type="int64", size=s) for n, s in zip(names, sizes, strict=True)
        ),
        fields=(*numbers, *ids),
        user_id_type="int64",
        item_id_type="int64",
        user_id_field=None,
        item_id_field=None,
    )


def random_inputs(of: FeatureSchema, users: int, rows: int, seed: int = 0) -> Inputs:
    """A call with random histories: the first user's are empty, the others' end in padding."""
    g = torch.Generator().manual_seed(seed)

    def ids(names: list[str], count: int) -> Tensor:
        columns = [
            torch.randint(SIZES[n] + 1, (count,), generator=g) + of.offsets[n] for n in names
        ]
        empty = torch.zeros(count, 0, dtype=torch.int32)
        return torch.stack(columns, dim=1).to(torch.int32) if columns else empty

    def bags(count: int, width: int) -> Tensor:
        drawn = ids(["genre"] * width, count)
        return drawn * (torch.rand(count, width, generator=g) < 0.6)

    history = torch.zeros(users, 0, 0, 0, dtype=torch.int32)
    if of.behaviours:
        events = ids(["item", "genre"] * (2 * HISTORY), users).view(users, 2, HISTORY, 2)
        lengths = torch.randint(1, HISTORY + 1, (users, 2), generator=g)
        lengths[:1] = 0
        known = torch.arange(HISTORY) < lengths[..., None]  # (U, M, L)
        history = events * known[..., None]
    return Inputs(
        user_ids=ids(["user"], users),
        user_dense=torch.rand(users, 1, generator=g),
        user_bags=bags(users, 2),
        history=history,
        item_ids=ids(["item", "genre"], rows),
        item_dense=torch.rand(rows, 1, generator=g),
        item_bags=bags(rows, 3),
        row_user=torch.randint(max(users, 1), (rows,), generator=g, dtype=torch.int32),
    )


def tiled(inputs: Inputs) -> Inputs:
    """The plain form: every row brings its own copy of its user (U = N)."""
    row_user = inputs.row_user
    return replace(
        inputs,
        user_ids=inputs.user_ids[row_user],
        user_dense=inputs.user_dense[row_user],
        user_bags=inputs.user_bags[row_user],
        history=inputs.history[row_user],
        row_user=torch.arange(len(row_user), dtype=torch.int32),
    )


def rows_of(inputs: Inputs, rows: Tensor) -> Inputs:
    """Some rows in some order, over the same users."""
    names = ("item_ids", "item_dense", "item_bags", "row_user")
    return replace(inputs, **{name: getattr(inputs, name)[rows] for name in names})


def widened(inputs: Inputs) -> Inputs:
    """The same call with float64 numbers."""
    values = {f.name: getattr(inputs, f.name) for f in fields(inputs)}
    return Inputs(**{n: v.double() if v.is_floating_point() else v for n, v in values.items()})


def refill(module: nn.Module, seed: int = 0, std: float = 0.3) -> None:
    """Weights far from any special initial value."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g) * std)
