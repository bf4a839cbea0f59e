"""8-bit products: a graph's larger constant matrices as int8, what they meet quantised per call.

    ModelProto (constants folded) --quantised--> ModelProto
                                       └--> None: no product is large enough to gain

Dynamic quantisation by ONNX Runtime's own tool: a scale per output channel of a weight, one per
call for activations. A stack of matrices (one per expert) is taken apart first: the runtime packs
plain matrices only, and so each expert's activations have a scale of their own.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from export.rewrite import as_inputs, consumers, with_nodes

# Products with fewer weights cost less than quantising what they are applied to.
_LEAST_WEIGHTS = 4096
_STACKED = 3


def quantised(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model with its larger products in 8 bits."""
    apart = _unstacked(model)
    weights = {i.name: i for i in apart.graph.initializer}
    chosen = [
        node.name
        for node in apart.graph.node
        if node.op_type in {"MatMul", "Gemm"}
        and node.input[1] in weights
        and int(np.prod(weights[node.input[1]].dims)) >= _LEAST_WEIGHTS
    ]
    if not chosen:
        return None
    tables = _tables(apart)
    logging.getLogger().addFilter(_silent)  # it recommends a step that folding has already done
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "quantised.onnx"
            quantize_dynamic(
                # The tool transposes weights and would believe their old shapes: none are told.
                as_inputs(apart, tables),
                path,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=chosen,
                per_channel=True,
                weight_type=QuantType.QInt8,
            )
            made = onnx.load(path)
    finally:
        logging.getLogger().removeFilter(_silent)
    names = {table.name for table in tables}
    inputs = [value for value in made.graph.input if value.name not in names]
    return with_nodes(made, made.graph.node, inputs=inputs, constants=tables)


def _silent(_: logging.LogRecord) -> bool:
    return False


def _unstacked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Products with a constant (G, k, n) as G products with (k, n); all nodes get a name."""
    weights = {i.name: i for i in model.graph.initializer}
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    for at, node in enumerate(model.graph.node):
        weight = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or len(weight.dims) != _STACKED:
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.name = f"node_{at}"
            nodes.append(copy)
            continue
        parts, matrices = _apart(node, numpy_helper.to_array(weight))
        nodes += parts
        constants += matrices
    return with_nodes(model, nodes, constants=constants)


def _apart(node: NodeProto, stack: np.ndarray) -> tuple[list[NodeProto], list[TensorProto]]:
    """(G, N, k) @ (G, k, n) as: split, G products, concatenated."""
    groups, out = len(stack), node.output[0]
    pieces = [f"{out}.in{g}" for g in range(groups)]
    matrices = [numpy_helper.from_array(stack[g], f"{out}.weight{g}") for g in range(groups)]
    products = [
        helper.make_node("MatMul", [piece, matrix.name], [f"{out}.out{g}"], name=f"{out}.{g}")
        for g, (piece, matrix) in enumerate(zip(pieces, matrices, strict=True))
    ]
    split = helper.make_node("Split", [node.input[0]], pieces, axis=0, num_outputs=groups)
    joined = helper.make_node("Concat", [p.output[0] for p in products], [out], axis=0)
    return [split, *products, joined], matrices


def _tables(model: onnx.ModelProto) -> list[TensorProto]:
    """What rows are gathered from: never quantised, and too large to travel through the tool."""
    read_by = consumers(model)
    return [
        value
        for value in model.graph.initializer
        if any(n.op_type == "Gather" and n.input[0] == value.name for n in read_by[value.name])
    ]
