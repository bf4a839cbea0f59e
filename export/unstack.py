"""Products with a stack of matrices, one per expert, as products with plain ones.

    (G, N, k) @ (G, k, n) + (G, 1, n)  --unstacked-->  split, G times x @ (k, n) + (n), concatenated

ONNX Runtime packs plain matrices only, and adds a bias within an 8-bit product only if it is plain.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.rewrite import consumers, with_nodes

_STACKED = 3


def unstacked(model: onnx.ModelProto, is_worth: Callable[[NodeProto], bool]) -> onnx.ModelProto:
    """The model with some of its stacked products taken apart; all nodes get a name.

    Args:
        model: stays as it is.
        is_worth: of products with a constant stack, which ones.
    """
    constants = {i.name: i for i in model.graph.initializer}
    read_by = consumers(model)
    made: list[NodeProto] = []
    matrices: list[TensorProto] = []
    done: set[str] = set()
    for at, node in enumerate(model.graph.node):
        if node.output[0] in done:
            continue
        if not _is_stacked(node, constants) or not is_worth(node):
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.name = f"node_{at}"
            made.append(copy)
            continue
        stack = numpy_helper.to_array(constants[node.input[1]])
        readers = read_by.get(node.output[0], ())
        total = readers[0] if len(readers) == 1 and readers[0].op_type == "Add" else None
        bias = None if total is None else _bias(total, node.output[0], constants, stack)
        if total is not None and bias is not None:
            done.add(total.output[0])
        out = node.output[0] if total is None or bias is None else total.output[0]
        nodes, parts = _apart(node.input[0], out, stack, bias)
        made += nodes
        matrices += parts
    return with_nodes(model, made, constants=matrices)


def _is_stacked(node: NodeProto, constants: dict[str, TensorProto]) -> bool:
    weight = constants.get(node.input[1]) if node.op_type == "MatMul" else None
    return weight is not None and len(weight.dims) == _STACKED


def _bias(
    total: NodeProto, product: str, constants: dict[str, TensorProto], stack: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """(G, n), if what is added to the product is a constant (G, 1, n)."""
    other = constants.get(next((name for name in total.input if name != product), ""))
    groups, _, width = stack.shape
    if other is None or list(other.dims) != [groups, 1, width]:
        return None
    return numpy_helper.to_array(other)[:, 0]


def _apart(
    rows: str, out: str, stack: NDArray[np.float32], bias: NDArray[np.float32] | None
) -> tuple[list[NodeProto], list[TensorProto]]:
    groups = len(stack)
    pieces = [rows] if groups == 1 else [f"{out}.in{g}" for g in range(groups)]
    found = [out] if groups == 1 else [f"{out}.out{g}" for g in range(groups)]
    nodes, constants = [], []
    for g, (piece, result) in enumerate(zip(pieces, found, strict=True)):
        matrix = numpy_helper.from_array(stack[g], f"{out}.weight{g}")
        constants.append(matrix)
        product = result if bias is None else f"{out}.product{g}"
        nodes.append(helper.make_node("MatMul", [piece, matrix.name], [product], name=f"{out}.{g}"))
        if bias is not None:
            added = numpy_helper.from_array(bias[g], f"{out}.bias{g}")
            constants.append(added)
            nodes.append(helper.make_node("Add", [product, added.name], [result], name=result))
    if groups > 1:
        split = helper.make_node("Split", [rows], pieces, axis=0, num_outputs=groups)
        nodes = [split, *nodes, helper.make_node("Concat", found, [out], axis=0)]
    return nodes, constants
