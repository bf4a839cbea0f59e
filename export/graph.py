"""A module to an ONNX graph: named dynamic axes, no trace of the machine that made it.

    nn.Module + example arrays --to_onnx--> ModelProto --GraphFolder--> .onnx (+ .weights)

Examples have at least 2 of everything that may vary, all different: torch.export takes a size of 0
or 1 for a constant.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from contract.manifest import GraphSpec
from contract.schema import Dtype, TensorSpec
from export.errors import ExportError

OPSET = 20
_EXTERNAL_FROM_BYTES = 1024
_ALIGNMENT = 64
_DTYPES: dict[int, Dtype] = {
    TensorProto.FLOAT: "float32",
    TensorProto.INT32: "int32",
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


class GraphFolder:
    """The graphs of one bundle, their larger tensors beside them; equal ones are stored once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stored: dict[tuple[Path, str], Mapping[str, str | int]] = {}

    def write(self, model: onnx.ModelProto, file: str) -> GraphSpec:
        """Write a graph and read its interface off the graph itself; file ends with .onnx."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".weights").open("wb") as weights:
            tensors = [self._outside(tensor, weights) for tensor in model.graph.initializer]
            empty = weights.tell() == 0
        if empty:
            path.with_suffix(".weights").unlink()
        graph = helper.make_graph(
            model.graph.node,
            model.graph.name,
            model.graph.input,
            model.graph.output,
            tensors,
            value_info=model.graph.value_info,
        )
        made = helper.make_model(
            graph, opset_imports=model.opset_import, ir_version=model.ir_version
        )
        onnx.save_model(made, str(path))
        onnx.checker.check_model(str(path))
        return GraphSpec(
            file=file,
            inputs=tuple(map(_spec, model.graph.input)),
            outputs=tuple(map(_spec, model.graph.output)),
        )

    def remove(self, file: str) -> None:
        """Take a graph away; only the one written last, whose weights no other refers to."""
        (self.folder / file).unlink()
        (self.folder / file).with_suffix(".weights").unlink(missing_ok=True)

    def _outside(self, tensor: TensorProto, weights: BinaryIO) -> TensorProto:
        """The tensor as a reference into a file of weights; itself if it is small."""
        content = numpy_helper.to_array(tensor).tobytes()
        if len(content) < _EXTERNAL_FROM_BYTES:
            return tensor
        # Only files beside a graph can be its external data.
        key = (Path(weights.name).parent, hashlib.sha256(content).hexdigest())
        if key not in self._stored:
            weights.write(b"\0" * (-weights.tell() % _ALIGNMENT))
            place = {"offset": weights.tell(), "length": weights.write(content)}
            self._stored[key] = {"location": Path(weights.name).name, **place}
        outside = TensorProto(
            name=tensor.name,
            data_type=tensor.data_type,
            dims=tensor.dims,
            data_location=TensorProto.EXTERNAL,
        )
        for name, value in self._stored[key].items():
            outside.external_data.add(key=name, value=str(value))
        return outside


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    if kind.elem_type not in _DTYPES:
        raise ExportError(f"graph tensor {value.name} has an unexpected element type")
    shape = tuple(
        dim.dim_param if dim.HasField("dim_param") else dim.dim_value for dim in kind.shape.dim
    )
    return TensorSpec(value.name, _DTYPES[kind.elem_type], shape)
