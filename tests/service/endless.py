"""A bundle whose backbone never ends by itself: what a deadline has to stop.

endless_bundle(folder) --> the tiny bundle, with a loop of 2^62 steps before its first output
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.bundle import Bundle, open_bundle
from tests.service.tiny import BUNDLE


def endless_bundle(folder: Path) -> Bundle:
    """Its files are altered, so it can be served from but not opened."""
    sound = open_bundle(BUNDLE)
    copy = folder / "endless"
    shutil.copytree(BUNDLE, copy)
    path = copy / sound.manifest.backbone.file
    model = onnx.load(path, load_external_data=False)
    _delay(model.graph)
    onnx.save(model, path)
    return Bundle(copy, sound.manifest, sound.lookups, sound.golden)


def _delay(graph: onnx.GraphProto) -> None:
    late = graph.output[0].name
    for node in graph.node:
        node.output[:] = [f"{name}.early" if name == late else name for name in node.output]
        node.input[:] = [f"{name}.early" if name == late else name for name in node.input]
    step = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["going.on"]),
            helper.make_node("Identity", ["value"], ["value.on"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("going.on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value.on", TensorProto.FLOAT, None),
        ],
    )
    graph.initializer.append(numpy_helper.from_array(np.array(2**62), "steps"))
    graph.initializer.append(numpy_helper.from_array(np.array([True]).reshape(()), "always"))
    graph.node.append(
        helper.make_node("Loop", ["steps", "always", f"{late}.early"], [late], body=step)
    )
