"""Backbone and all pre-trained heads as one graph.

    backbone: inputs -> h, shared, specific    heads: representation -> score (N,)
        --composed--> inputs -> scores (N, T), h, shared, specific

The nodes are those of the single graphs, so are the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, compose, helper, numpy_helper

SCORES = "scores"
_COLUMN = "scores.axis"


def composed(backbone: onnx.ModelProto, heads: Mapping[str, onnx.ModelProto]) -> onnx.ModelProto:
    """One graph; scores stand in the order of heads."""
    nodes: list[NodeProto] = list(backbone.graph.node)
    constants: list[TensorProto] = list(backbone.graph.initializer)
    known: list[ValueInfoProto] = list(backbone.graph.value_info)
    columns = []
    for at, head in enumerate(heads.values()):
        part = compose.add_prefix(head, f"head{at}.", rename_inputs=False).graph
        column = f"{SCORES}.{at}"
        nodes += [
            *part.node,
            helper.make_node("Unsqueeze", [part.output[0].name, _COLUMN], [column]),
        ]
        constants += part.initializer
        known += part.value_info
        columns.append(column)
    nodes.append(helper.make_node("Concat", columns, [SCORES], axis=1))
    constants.append(numpy_helper.from_array(np.array([1], dtype=np.int64), _COLUMN))
    scores = helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, ["N", len(heads)])
    graph = helper.make_graph(
        nodes,
        backbone.graph.name,
        list(backbone.graph.input),
        [scores, *backbone.graph.output],
        constants,
        value_info=known,
    )
    return helper.make_model(
        graph, opset_imports=backbone.opset_import, ir_version=backbone.ir_version
    )
