"""What a graph computes from an item alone, computed once for every item of the catalogue.

    graph + item table --tabulated--> graph over item_rows: gathers instead of products
                           └--> None: the tables would be larger than the budget

Values that hang on item inputs alone, and that are an output or read by something that hangs on
more, become tables with one row per item, the unknown one included. They are made by the very nodes
they replace.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from contract.item_table import ItemTable
from contract.manifest import ITEM_ROWS
from export.rewrite import consumers, dependence, evaluator, shapes, with_nodes

_ROWS = "N"
_TABLE = ".over_items"
_CHUNK_ROWS = 4096


def tabulated(
    model: onnx.ModelProto, items: ItemTable, budget_bytes: int
) -> onnx.ModelProto | None:
    """The model with item_rows (N,) in place of the item inputs.

    Args:
        model: a graph whose item inputs (item_ids, item_dense, item_bags) are the item table's.
        items: the catalogue.
        budget_bytes: the largest accepted size of all tables together.
    """
    axes = _frontier(model)
    if axes is None or _expected_bytes(model, axes, len(items) + 1) > budget_bytes:
        return None
    hangs_on = dependence(model)
    gathers = [
        helper.make_node("Gather", [name + _TABLE, ITEM_ROWS], [name], axis=axis)
        for name, axis in axes.items()
    ]
    rest = [node for node in model.graph.node if not _on_items(hangs_on[node.output[0]])]
    others = [value for value in model.graph.input if not _on_items(frozenset([value.name]))]
    rows = helper.make_tensor_value_info(ITEM_ROWS, TensorProto.INT32, [_ROWS])
    tables = [
        numpy_helper.from_array(table, name + _TABLE)
        for name, table in _tables(model, items, axes).items()
    ]
    return with_nodes(model, [*gathers, *rest], inputs=[*others, rows], constants=tables)


def size_bytes(model: onnx.ModelProto) -> int:
    """Of the tables in a tabulated model; 0 for any other."""
    return sum(tensor.ByteSize() for tensor in model.graph.initializer if is_table(tensor))


def is_table(constant: TensorProto) -> bool:
    """Whether it holds a row per item."""
    return constant.name.endswith(_TABLE)


def _frontier(model: onnx.ModelProto) -> dict[str, int] | None:
    """Each value to tabulate and its axis of rows; None if there is none, or one without rows."""
    hangs_on, read_by, known = dependence(model), consumers(model), shapes(model)
    asked = {value.name for value in model.graph.output}
    axes: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.output:
            outside = [n for n in read_by.get(name, ()) if not _on_items(hangs_on[n.output[0]])]
            if not _on_items(hangs_on[name]) or not (outside or name in asked):
                continue
            if known.get(name, ()).count(_ROWS) != 1:
                return None
            axes[name] = known[name].index(_ROWS)
    return axes or None


def _on_items(inputs: frozenset[str]) -> bool:
    return bool(inputs) and all(name.startswith("item_") for name in inputs)


def _expected_bytes(model: onnx.ModelProto, axes: Mapping[str, int], rows: int) -> int:
    known = shapes(model)
    widths = [np.prod([size for size in known[name] if isinstance(size, int)]) for name in axes]
    return 4 * rows * int(sum(widths))


def _tables(
    model: onnx.ModelProto, items: ItemTable, axes: Mapping[str, int]
) -> dict[str, NDArray[np.float32]]:
    columns = {"item_ids": items.ids, "item_dense": items.dense, "item_bags": items.bags}
    evaluate = evaluator(model, list(axes))
    chunks = []
    for start in range(0, len(items) + 1, _CHUNK_ROWS):
        feed = {name: column[start : start + _CHUNK_ROWS] for name, column in columns.items()}
        chunks.append(evaluate(feed))
    return {
        name: np.concatenate([chunk[at] for chunk in chunks], axis=axis)
        for at, (name, axis) in enumerate(axes.items())
    }
