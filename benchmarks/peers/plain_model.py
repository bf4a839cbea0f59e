"""The plain graph behind every peer's own door; runs in the peers' environments.

    named arrays, one row of the user --rows tiled--> ONNX Runtime, one thread --> (N, T)

Needs numpy and onnxruntime alone; safetensors where the door takes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

AT_USER = ("user_ids", "user_dense", "user_bags", "history")
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
        kinds = {"tensor(int32)": np.int32, "tensor(float)": np.float32}
        inputs = self._session.get_inputs()
        self.kinds: dict[str, Any] = {one.name: kinds[one.type] for one in inputs}
        self.shapes: dict[str, list[Any]] = {one.name: one.shape for one in inputs}

    def score(self, arrays: Arrays) -> NDArray[np.float32]:
        """Probabilities (N, T); arrays of the user have one row, or as many as there are items."""
        rows = len(arrays["item_ids"])
        fed = {
            name: np.repeat(array, rows, axis=0) if len(array) < rows else array
            for name, array in arrays.items()
        }
        scores: NDArray[np.float32] = self._session.run(["scores"], fed)[0]
        return scores

    def score_lists(self, lists: Mapping[str, Any]) -> NDArray[np.float32]:
        """The same from nested lists, as JSON brings them."""
        arrays = {name: np.asarray(lists[name], kind) for name, kind in self.kinds.items()}
        return self.score(arrays)
