"""A graph for calls of one user: what is computed once per user is added to all rows as it is.

    y[n] = user_part[row_user[n]] + item_part[n]   --for_one_user-->   y = user_part + item_part

With U = 1 a gather over row_user only copies one row N times; the addition broadcasts it for
nothing, and adds the very same numbers. Gathers that something else reads stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import NodeProto

from export.rewrite import consumers, dependence, with_nodes

_ROW_USER = "row_user"
_ROWS = "N"
_BROADCASTING = {"Add", "Mul", "Sub"}


def for_one_user(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same outputs for U = 1; row_user stays an input only where it is still needed."""
    hangs_on, read_by = dependence(model), consumers(model)
    by_row = _by_row(model)
    instead: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        if _is_user_gather(node, hangs_on) and _is_broadcast(
            node.output[0], (hangs_on, read_by), by_row
        ):
            instead[node.output[0]] = node.input[0]
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        for at, name in enumerate(node.input):
            copy.input[at] = instead.get(name, name)
        nodes.append(copy)
    return with_nodes(model, nodes)


def _is_user_gather(node: NodeProto, hangs_on: Mapping[str, frozenset[str]]) -> bool:
    return node.op_type == "Gather" and hangs_on.get(node.input[1]) == frozenset([_ROW_USER])


def _is_broadcast(
    name: str,
    known: tuple[Mapping[str, frozenset[str]], Mapping[str, Sequence[NodeProto]]],
    by_row: frozenset[str],
) -> bool:
    """Whether each reader broadcasts it against something that has all rows."""
    hangs_on, read_by = known
    readers = read_by.get(name, ())
    return bool(readers) and all(
        node.op_type in _BROADCASTING
        and any(by_row & hangs_on.get(other, frozenset()) for other in node.input if other != name)
        for node in readers
    )


def _by_row(model: onnx.ModelProto) -> frozenset[str]:
    """The inputs that have a row each."""
    return frozenset(
        value.name
        for value in model.graph.input
        if value.name != _ROW_USER
        and any(dim.dim_param == _ROWS for dim in value.type.tensor_type.shape.dim)
    )
