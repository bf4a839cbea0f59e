"""LitServe: `python litserve_server.py MODEL PORT`.

One worker on the CPU, JSON in and out, as its API gives them (https://lightning.ai/docs/litserve/
api-reference/litapi, .../litserver). Batching, which its documents advise for GPUs, is left off: a
request is a batch already.
"""

import sys
from typing import Any

import litserve
import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from plain_model import PlainModel


class Api(litserve.LitAPI):
    """decode_request, predict, encode_response: LitServe's own three steps."""

    def setup(self, device: str) -> None:
        self.model = PlainModel(sys.argv[1])

    def decode_request(self, request: Request) -> dict[str, Any]:
        return dict(request)  # LitServe has read its JSON by now

    def predict(self, lists: dict[str, Any]) -> NDArray[np.float32]:
        return self.model.score_lists(lists)

    def encode_response(self, scores: NDArray[np.float32]) -> dict[str, Any]:
        return {"scores": scores.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/score"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
