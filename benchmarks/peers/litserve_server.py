"""LitServe: `python litserve_server.py MODEL PORT`.

"LitServer" and "LitAPI" in its documents: one worker on the CPU, its ZeroMQ queue (`fast_queue`)
between the door and the worker, arrays as base64 in JSON, as its examples send what is no text.
Batching, which they advise for GPUs, is left off: a request is a batch already.
"""

import sys
from typing import Any

import litserve
from fastapi import Request
from plain_model import PlainModel


class Api(litserve.LitAPI):
    """decode_request, predict, encode_response: LitServe's own three steps."""

    def setup(self, device: str) -> None:
        self.model = PlainModel(sys.argv[1])

    def decode_request(self, request: Request) -> str:
        return request["arrays"]  # LitServe has read its JSON by now

    def predict(self, packed: str) -> str:
        return self.model.score_packed(packed)

    def encode_response(self, packed: str) -> dict[str, Any]:
        return {"scores": packed}


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(api_path="/score"), accelerator="cpu", workers_per_device=1, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
