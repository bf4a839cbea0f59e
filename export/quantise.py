"""8-bit products: a graph's larger constant matrices as int8, what they meet quantised per call.

    ModelProto (constants folded) --quantised--> ModelProto
                                       └--> None: no product is large enough to gain

Dynamic quantisation by ONNX Runtime's own tool: a scale per output channel of a weight, one per
call for activations; a stack of matrices (one per expert) is taken apart first, so that each
expert's activations have a scale of their own. Tables over items lie in 16 bits beside it: half as
many cache lines are fetched for a row, and the values lose less than the products do.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from export.catalogue import is_table
from export.rewrite import as_inputs, consumers, dependence, with_nodes
from export.unstack import unstacked

# Measured on one core: products with fewer weights cost less than quantising what they meet, at a
# hundred rows and at the one row of a user. A size decides, so that a model has one bundle.
_LEAST_AT_ROWS = 4096
_LEAST_AT_USER = 65_536


def quantised(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model with its larger products in 8 bits, and its tables over items in 16."""
    apart = unstacked(model, _Large(model))
    is_large = _Large(apart)
    chosen = [
        # The tool makes a MatMul of a Gemm, and renames it, before it looks for what it was told.
        f"{node.name}_MatMul" if node.op_type == "Gemm" else node.name
        for node in apart.graph.node
        if is_large(node)
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
    return _halved(with_nodes(made, made.graph.node, inputs=inputs, constants=tables))


def _silent(_: logging.LogRecord) -> bool:
    return False


class _Large:
    """Which products with a constant gain from 8 bits; the constant is a matrix or a stack."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._weights = {i.name: i.dims for i in model.graph.initializer}
        self._hangs_on = dependence(model)

    def __call__(self, node: NodeProto) -> bool:
        if node.op_type not in {"MatMul", "Gemm"} or node.input[1] not in self._weights:
            return False
        at_rows = any(name.startswith("item_") for name in self._hangs_on[node.input[0]])
        least = _LEAST_AT_ROWS if at_rows else _LEAST_AT_USER
        return int(np.prod(self._weights[node.input[1]][-2:])) >= least


def _tables(model: onnx.ModelProto) -> list[TensorProto]:
    """What rows are gathered from: never quantised, and too large to travel through the tool."""
    read_by = consumers(model)
    return [
        value
        for value in model.graph.initializer
        if any(n.op_type == "Gather" and n.input[0] == value.name for n in read_by[value.name])
    ]


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Tables over items as float16, but those whose rows leave the graph: prompts read these."""
    tables = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer if is_table(i)}
    asked = {value.name for value in model.graph.output}
    kept = {n.input[0] for n in model.graph.node if asked.intersection(n.output)}
    limit = np.finfo(np.float16).max
    halves = {
        name: numpy_helper.from_array(table.astype(np.float16), f"{name}.half")
        for name, table in tables.items()
        if name not in kept and np.abs(table).max(initial=0.0) <= limit
    }

    def nodes() -> Iterator[NodeProto]:
        for node in model.graph.node:
            if node.op_type != "Gather" or node.input[0] not in halves:
                yield node
                continue
            half = f"{node.output[0]}.half"
            gather = NodeProto()
            gather.CopyFrom(node)
            gather.input[0], gather.output[0] = halves[node.input[0]].name, half
            yield gather
            yield helper.make_node("Cast", [half], [node.output[0]], to=TensorProto.FLOAT)

    return with_nodes(model, nodes(), constants=halves.values())
