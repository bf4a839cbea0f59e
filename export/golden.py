"""Golden rows: real calls and the probabilities PyTorch gives them, replayed by the service.

Checkpoint + Dataset --golden_requests--> golden.json: raw requests (tests the encoder too)
                     --golden_call------> encoded rows for a prompt file
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from contract.bundle import GoldenRequest
from contract.lookups import Lookups
from contract.schema import FeatureSchema
from export.modules import inputs_of
from training.checkpoint import Checkpoint
from training.dataset import Dataset
from training.inputs import Inputs

REQUESTS = 8
ROWS_PER_REQUEST = 16
PROMPT_ROWS = 16
_UNKNOWN_STRING = "\x1funknown"
Arrays = dict[str, NDArray[Any]]


def golden_requests(checkpoint: Checkpoint, dataset: Dataset) -> list[GoldenRequest]:
    """Requests spread over the data set, and one of a user and an item that nobody knows."""
    golden = []
    for rows in _spread(dataset, REQUESTS):
        inputs = dataset.batch(rows, ()).inputs
        golden.append(GoldenRequest(dataset.raw_request(rows), _scores(checkpoint, inputs)))
    raw, arrays = _unknown(checkpoint.lookups)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    inputs = inputs_of(checkpoint.schema, tensors)
    return [*golden, GoldenRequest(raw, _scores(checkpoint, inputs))]


def golden_call(schema: FeatureSchema, dataset: Dataset) -> tuple[Inputs, Arrays]:
    """A few rows of several users in one call, as tensors and as the graph's named arrays."""
    rows = torch.cat([r[: PROMPT_ROWS // REQUESTS] for r in _spread(dataset, REQUESTS)])
    inputs = dataset.batch(rows, ()).inputs
    arrays = {spec.name: getattr(inputs, spec.name).numpy() for spec in schema.inputs()}
    return inputs, arrays


def _spread(dataset: Dataset, count: int) -> list[torch.Tensor]:
    """The rows of some requests, evenly over the data set; the longest ones are cut."""
    requests, first = np.unique(np.asarray(dataset.requests), return_index=True)
    order = np.argsort(first)
    chosen = requests[order[np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)]]
    found = [np.flatnonzero(np.asarray(dataset.requests) == request) for request in chosen]
    return [torch.from_numpy(rows[:ROWS_PER_REQUEST]) for rows in found]


def _scores(checkpoint: Checkpoint, inputs: Inputs) -> dict[str, list[float]]:
    with torch.no_grad():
        scores = torch.sigmoid(checkpoint.model(inputs).logits)  # (N, T)
    return {task: scores[:, at].tolist() for at, task in enumerate(checkpoint.card.tasks)}


def _unknown(lookups: Lookups) -> tuple[dict[str, Any], Arrays]:
    """A request that names nothing known, and the arrays it must become: OOV rows, no history."""
    schema = lookups.schema
    item = np.array([len(lookups.items)], dtype=np.int32)
    arrays: Arrays = {
        "user_ids": np.array(
            [[schema.oov_row(f.vocabulary) for f in schema.categorical("user")]], dtype=np.int32
        ),
        "user_dense": np.zeros((1, len(schema.dense("user"))), dtype=np.float32),
        "user_bags": np.zeros(
            (1, sum(f.max_values for f in schema.multivalued("user"))), dtype=np.int32
        ),
        "history": np.zeros(
            (1, len(schema.behaviours), 1, len(schema.history_fields)), dtype=np.int32
        ),
        **lookups.items.arrays(item),
        "row_user": np.zeros(1, dtype=np.int32),
    }
    raw = {"user_id": _absent(schema.user_id_type), "item_ids": [_absent(schema.item_id_type)]}
    return raw, {spec.name: arrays[spec.name] for spec in schema.inputs()}


def _absent(raw_type: str) -> int | str:
    return -(2**63) if raw_type == "int64" else _UNKNOWN_STRING
