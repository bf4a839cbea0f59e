"""A graph in ONNX Runtime as everything but the service runs it: one thread, on the processor.

path or bytes --open_session--> InferenceSession        folder, GraphSpec --> GraphSession
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from contract.manifest import GraphSpec

Arrays = dict[str, NDArray[Any]]


def open_session(model: str | bytes) -> ort.InferenceSession:
    """A session of a file, or of a graph in memory."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class GraphSession:
    """One graph of a bundle, run by the names of its arrays."""

    def __init__(self, folder: Path, spec: GraphSpec) -> None:
        self._session = open_session(str(folder / spec.file))
        self._inputs = [tensor.name for tensor in spec.inputs]
        self._outputs = [tensor.name for tensor in spec.outputs]

    def run(
        self, arrays: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> Arrays:
        """The outputs by name: all, or those that are asked for. Other arrays may be there too."""
        names = self._outputs if outputs is None else list(outputs)
        feed = {name: arrays[name] for name in self._inputs}
        return dict(zip(names, self._session.run(names, feed), strict=True))
