"""A weight for each value of some item fields, which a prompt adds to its logit; ours.

    logit = tower(f) + sum_x w[value of field x]        item_ids (N, F) --ItemValues--> (N, X)

The table of a frozen backbone says of a video what the old tasks asked of it. What the new one asks
is a number a video, as in the first order of a factorization machine (Rendle, ICDM 2010). The
backbone's graph hands out which numbers a row needs; the numbers are the prompt's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from contract.schema import FeatureSchema
from training.errors import ConfigError


@dataclass(frozen=True, slots=True)
class IdColumn:
    """A categorical field of the items.

    Attributes:
        place: its column of item_ids.
        first: the table row of its first value.
        values: how many it has, the unknown one included.
    """

    place: int
    first: int
    values: int


def id_columns(schema: FeatureSchema) -> dict[str, IdColumn]:
    """The categorical fields of the items by name."""
    sizes = {vocabulary.name: vocabulary.size + 1 for vocabulary in schema.vocabularies}
    return {
        field.name: IdColumn(place, schema.offsets[field.vocabulary], sizes[field.vocabulary])
        for place, field in enumerate(schema.categorical("item"))
    }


class ItemValues(nn.Module):
    """From table rows to places in one vector of weights.

    Args:
        fields: at least one.
        columns: all there are.

    Raises:
        ConfigError: a field that is no categorical field of the items.
    """

    def __init__(self, fields: Sequence[str], columns: Mapping[str, IdColumn]) -> None:
        super().__init__()
        if unknown := [name for name in fields if name not in columns]:
            raise ConfigError(
                f"tune.item_weights names {', '.join(unknown)}; the categorical fields of the items"
                f" are {sorted(columns)}"
            )
        chosen = [columns[name] for name in fields]
        self.fields = len(chosen)
        self.count = sum(column.values for column in chosen)
        *starts, _ = accumulate((column.values for column in chosen), initial=0)
        self._keep("place", [column.place for column in chosen])
        self._keep("first", [column.first for column in chosen])
        self._keep("last", [column.values - 1 for column in chosen])
        self._keep("start", starts)

    def _keep(self, name: str, numbers: Sequence[int]) -> None:
        dtype = torch.int64 if name == "place" else torch.int32
        self.register_buffer(name, torch.tensor(numbers, dtype=dtype), persistent=False)

    def forward(self, item_ids: Tensor) -> Tensor:
        """(N, X) int32; a row of another vocabulary counts as the nearest of this one."""
        place, first, last, start = (
            self.get_buffer(name) for name in ("place", "first", "last", "start")
        )
        values = item_ids.index_select(1, place) - first
        # A place outside of the vector would end the call, or be another field's.
        inside: Tensor = torch.minimum(values.clamp(min=0), last) + start
        return inside


class ItemWeights(nn.Module):
    """The weights themselves, all 0 at first: a value that no training row has says nothing."""

    def __init__(self, fields: Sequence[str], columns: Mapping[str, IdColumn]) -> None:
        super().__init__()
        self.values = ItemValues(fields, columns)
        self.weights = nn.Parameter(torch.zeros(self.values.count))

    def forward(self, item_ids: Tensor) -> Tensor:
        """What is added to each row's logit: (N,)."""
        values: Tensor = self.values(item_ids)
        return self.weights.index_select(0, values.flatten()).view_as(values).sum(dim=1)
