"""A module to an ONNX graph: named dynamic axes, no trace of the machine that made it.

    nn.Module + example arrays --to_onnx--> ModelProto --write_graph--> .onnx (+ external data)

Examples have at least 2 of everything that may vary, all different: torch.export takes a size of 0
or 1 for a constant.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from contract.manifest import GraphSpec
from contract.schema import Dtype, TensorSpec
from export.errors import ExportError

OPSET = 20
_EXTERNAL_FROM_BYTES = 1024
_DTYPES: dict[int, Dtype] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT32: "int32",
}
# All different, and none equal to a width that a model is likely to have.
EXAMPLE_SIZES = {"U": 3, "N": 7, "L": 5, "P": 2}


def example(spec: TensorSpec) -> Tensor:
    """A tensor of a spec's shape with small valid values (indices all 0)."""
    shape = [EXAMPLE_SIZES[size] if isinstance(size, str) else size for size in spec.shape]
    if spec.dtype == "int32":
        return torch.zeros(shape, dtype=torch.int32)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def to_onnx(
    module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Trace a module whose forward takes one dict of named tensors.

    Args:
        module: forward(arrays: dict[str, Tensor]) -> tuple of tensors, as many as outputs.
        inputs: the dict's entries, in the order of the graph's inputs.
        outputs: names of what forward returns.
    """
    axes = {
        letter: torch.export.Dim(letter)
        for letter in EXAMPLE_SIZES
        if any(letter in spec.shape for spec in inputs)
    }
    dynamic = {
        spec.name: {at: axes[size] for at, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in inputs
    }
    module = module.eval()
    # It also logs, once per missing torchvision operator, what no graph of ours uses.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter warns of its own deprecated calls and of axes that share a name.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (),
            kwargs={"arrays": {spec.name: example(spec) for spec in inputs}},
            dynamic_shapes={"arrays": dynamic},
            input_names=[spec.name for spec in inputs],
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=True,
        )
    if program is None:
        raise ExportError("the exporter returned nothing; is the onnxscript package installed?")
    model = program.model_proto
    _strip(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Remove what tells of the exporting machine: stack traces, paths, module names."""
    del model.metadata_props[:]
    model.doc_string = ""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
        for value in graph.value_info:
            value.doc_string = ""
            del value.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]


def write_graph(model: onnx.ModelProto, folder: Path, file: str) -> GraphSpec:
    """Write a graph, its larger tensors beside it, and read its interface off the graph itself."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=path.with_suffix(".weights").name,
        size_threshold=_EXTERNAL_FROM_BYTES,
    )
    onnx.checker.check_model(str(path))
    return GraphSpec(
        file=file,
        inputs=tuple(map(_spec, model.graph.input)),
        outputs=tuple(map(_spec, model.graph.output)),
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    if kind.elem_type not in _DTYPES:
        raise ExportError(f"graph tensor {value.name} has an unexpected element type")
    shape = tuple(
        dim.dim_param if dim.HasField("dim_param") else dim.dim_value for dim in kind.shape.dim
    )
    return TensorSpec(value.name, _DTYPES[kind.elem_type], shape)
