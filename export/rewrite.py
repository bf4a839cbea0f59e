"""Edits of an exported graph that keep what it computes: find, evaluate, cut, prune.

ModelProto --dependence--> which inputs each value hangs on --with_nodes--> ModelProto
           --evaluator--> values of the graph, by ONNX Runtime      --folded--> ModelProto
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from export.session import open_session

Arrays = Mapping[str, NDArray[Any]]
Values = list[NDArray[Any]]
# A protobuf message ends at 2 GiB; what is larger than this travels as an input.
_INLINE_BYTES = 1 << 20


def dependence(model: onnx.ModelProto) -> dict[str, frozenset[str]]:
    """The graph inputs that each value is computed from; none for constants."""
    found: dict[str, frozenset[str]] = {i.name: frozenset([i.name]) for i in model.graph.input}
    for node in model.graph.node:
        inputs = frozenset[str]().union(*(found.get(name, frozenset()) for name in node.input))
        for name in node.output:
            found[name] = inputs
    return found


def consumers(model: onnx.ModelProto) -> dict[str, list[NodeProto]]:
    """The nodes that read each value."""
    found: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    """Shapes of inputs, outputs and inner values, a letter for an axis that varies."""
    graph = model.graph
    return {
        value.name: tuple(
            dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim
        )
        for value in (*graph.value_info, *graph.input, *graph.output)
    }


def with_nodes(
    model: onnx.ModelProto,
    nodes: Iterable[NodeProto],
    *,
    inputs: Sequence[ValueInfoProto] | None = None,
    outputs: Sequence[ValueInfoProto] | None = None,
    constants: Iterable[TensorProto] = (),
) -> onnx.ModelProto:
    """The model with other nodes, without whatever then serves no output.

    Args:
        model: stays as it is.
        nodes: in an order in which they can run.
        inputs: by default the model's; those that nothing reads are left out.
        outputs: by default the model's.
        constants: initializers to add.
    """
    graph = model.graph
    asked = list(graph.output if outputs is None else outputs)
    needed = {value.name for value in asked}
    kept: list[NodeProto] = []
    for node in reversed(list(nodes)):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    made = helper.make_graph(
        kept[::-1],
        graph.name,
        [i for i in (graph.input if inputs is None else inputs) if i.name in needed],
        asked,
        [c for c in (*graph.initializer, *constants) if c.name in needed],
        value_info=[v for v in graph.value_info if v.name in needed],
    )
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)


def as_inputs(
    model: onnx.ModelProto,
    constants: Iterable[TensorProto],
    outputs: Sequence[ValueInfoProto] | None = None,
) -> onnx.ModelProto:
    """The model with some of its constants given at each run, and with no inner shapes told.

    Args:
        model: stays as it is.
        constants: of its initializers.
        outputs: as with_nodes.
    """
    given = [helper.make_tensor_value_info(c.name, c.data_type, c.dims) for c in constants]
    names = {value.name for value in given}
    inputs = [*model.graph.input, *given]
    made = with_nodes(model, model.graph.node, inputs=inputs, outputs=outputs)
    rest = [value for value in made.graph.initializer if value.name not in names]
    del made.graph.initializer[:]
    made.graph.initializer.extend(rest)
    del made.graph.value_info[:]
    return made


def evaluator(model: onnx.ModelProto, names: Sequence[str]) -> Callable[[Arrays], Values]:
    """What computes some of a model's inner values, in the order of names, from a feed.

    Args:
        model: the graph.
        names: of values whose type is float32 or told by the graph.

    The feed holds the inputs they hang on; others may be there too.
    """
    types = {v.name: v for v in (*model.graph.value_info, *model.graph.output)}
    asked = [
        types.get(name, helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        for name in names
    ]
    large = [i for i in model.graph.initializer if i.ByteSize() > _INLINE_BYTES]
    part = as_inputs(model, large, outputs=asked)
    session = open_session(part.SerializeToString())
    given = {i.name for i in session.get_inputs()}
    constants = {i.name: numpy_helper.to_array(i) for i in large if i.name in given}

    def evaluate(feed: Arrays) -> Values:
        arrays = {name: array for name, array in feed.items() if name in given}
        values: Values = session.run(list(names), {**arrays, **constants})
        return values

    return evaluate


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with everything computed that hangs on no input."""
    hangs_on, read_by = dependence(model), consumers(model)
    names = [
        name
        for node in model.graph.node
        for name in node.output
        if not hangs_on[name] and any(hangs_on[n.output[0]] for n in read_by.get(name, ()))
    ]
    if not names:
        return model
    values = evaluator(model, names)({})
    constants = [
        numpy_helper.from_array(value, name) for name, value in zip(names, values, strict=True)
    ]
    rest = [node for node in model.graph.node if hangs_on[node.output[0]]]
    return with_nodes(model, rest, constants=constants)
