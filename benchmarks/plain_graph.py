"""The same checkpoint as anybody would export it: one graph, float32, every row whole.

    Checkpoint --write_plain--> folder/plain.onnx: N rows of user, history and item -> scores (N, T)

No part of the model is computed once per user, and nothing is tabulated or quantised.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from contract.schema import FeatureSchema
from export.graph import GraphFolder, to_onnx
from export.modules import Arrays, inputs_of
from training.checkpoint import Checkpoint
from training.model import MultiTaskModel

PLAIN = "plain.onnx"


class PlainGraph(nn.Module):
    """Probabilities of all tasks; each row carries its user."""

    def __init__(self, model: MultiTaskModel, schema: FeatureSchema) -> None:
        super().__init__()
        self.model = model
        self._schema = schema

    def forward(self, arrays: Arrays) -> tuple[Tensor]:
        rows = torch.arange(arrays["item_ids"].shape[0], dtype=torch.int32)
        inputs = inputs_of(self._schema, {**arrays, "row_user": rows})
        return (torch.sigmoid(self.model(inputs).logits),)


def write_plain(checkpoint: Checkpoint, folder: Path) -> None:
    """Write plain.onnx and its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    specs = [
        replace(spec, shape=("N", *spec.shape[1:]))
        for spec in checkpoint.schema.inputs()
        if spec.name != "row_user"
    ]
    graph = PlainGraph(checkpoint.model.eval(), checkpoint.schema)
    GraphFolder(folder).write(to_onnx(graph, specs, ["scores"]), PLAIN)
