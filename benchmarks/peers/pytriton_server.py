"""Triton with its Python backend: `python pytriton_server.py MODEL PORT`.

PyTriton binds a Python function, and batches requests dynamically as Triton's documents advise
(https://triton-inference-server.github.io/pytriton/latest/binding_models/ and .../decorators/).
Tensors cross in the binary form of the inference protocol; a batch's axis is the candidates, so the
caller sends its user's rows tiled.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from plain_model import PlainModel
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

MOST_ROWS = 2048


def main() -> None:
    model, port = PlainModel(sys.argv[1]), int(sys.argv[2])

    @batch
    def infer(**arrays: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        return {"scores": model.score(arrays)}

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=port,
        grpc_port=port + 1,
        allow_grpc=False,
        allow_metrics=False,
        log_verbose=0,
    )
    inputs = [
        Tensor(name=n, dtype=kind, shape=[s if isinstance(s, int) else -1 for s in shape[1:]])
        for (n, kind), shape in zip(model.kinds.items(), model.shapes.values(), strict=True)
    ]
    with Triton(config=config) as triton:
        triton.bind(
            model_name="plain",
            infer_func=infer,
            inputs=inputs,
            outputs=[Tensor(name="scores", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(max_batch_size=MOST_ROWS, batcher=DynamicBatcher()),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main()
