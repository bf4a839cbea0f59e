"""The plain graph behind every peer's own door; runs in the peers' environments.

    named arrays, one row of the user --rows tiled--> ONNX Runtime, one thread --> (N, T)

Needs numpy, onnxruntime and safetensors alone.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load

Arrays = Mapping[str, NDArray[Any]]


class PlainModel:
    """One session of plain.onnx."""

    def __init__(self, folder: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = str(Path(folder) / "plain.onnx")
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = self._session.get_inputs()

    def score(self, arrays: Arrays) -> NDArray[np.float32]:
        """Probabilities (N, T); arrays of the user have one row, or as many as there are items."""
        rows = len(arrays["item_ids"])
        fed = {
            name: np.repeat(array, rows, axis=0) if len(array) < rows else array
            for name, array in arrays.items()
        }
        scores: NDArray[np.float32] = self._session.run(["scores"], fed)[0]
        return scores

    def score_packed(self, text: str | bytes) -> str:
        """The same from a safetensors file in base64, and in base64: for doors that take JSON."""
        scores = self.score(load(b64decode(text)))
        return b64encode(scores.tobytes()).decode()
