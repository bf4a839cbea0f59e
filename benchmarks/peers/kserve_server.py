"""KServe's server: `python kserve_server.py OPTIONS`, its model folder in PLAIN_MODEL.

A kserve.Model ("Deploy Custom Python Model Server" in its documents) behind one uvicorn worker with
uvloop; gRPC and the log lines of each request are off ("ModelServer"). It speaks the Open Inference
Protocol with "Binary Tensor Data Extension", so tensors cross as bytes.
"""

from __future__ import annotations

import os

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from plain_model import PlainModel


class Plain(Model):
    """One model in the server's own process."""

    def __init__(self) -> None:
        super().__init__("plain")
        self.model = PlainModel(os.environ["PLAIN_MODEL"])
        self.ready = True

    async def predict(self, request: InferRequest, headers: dict[str, str] | None) -> InferResponse:
        scores = self.model.score({one.name: one.as_numpy() for one in request.inputs})
        output = InferOutput("scores", list(scores.shape), "FP32", data=scores)
        return InferResponse(request.id, self.name, [output], use_binary_outputs=True)


if __name__ == "__main__":
    ModelServer().start([Plain()])
