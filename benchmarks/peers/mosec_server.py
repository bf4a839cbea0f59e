"""Mosec: `python mosec_server.py --address HOST --port PORT`, its model folder in PLAIN_MODEL.

One worker, serialisation of its own for binary bodies (https://mosecorg.github.io/mosec/reference/
interface.html#mosec.worker.Worker.deserialize). No dynamic batching: a request is a batch already.
"""

from __future__ import annotations

import os
from typing import Any

from mosec import Server, Worker
from plain_model import PlainModel
from safetensors.numpy import load


class Plain(Worker):
    """Bytes to arrays to bytes."""

    def __init__(self) -> None:
        self.model = PlainModel(os.environ["PLAIN_MODEL"])

    def deserialize(self, data: bytes) -> dict[str, Any]:
        return load(bytes(data))  # Mosec hands over a bytearray

    def forward(self, data: dict[str, Any]) -> bytes:
        return self.model.score(data).tobytes()

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Plain, num=1)
    server.run()
