"""MLServer: `python mlserver_server.py MODEL PORT`, a runtime of our own with ONNX Runtime.

"Custom Inference Runtimes", "Parallel Inference" and "MLServer Settings" in its documents: its pool
of workers, which is there to leave the interpreter lock of one process, is off on one core, as are
debug (the access log), metrics and gzip; uvloop runs it, as its own command does. Its REST door
speaks JSON alone; "Content Types" names the base64 codec for bytes.
"""

from __future__ import annotations

import sys

import uvloop
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import Base64Codec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from plain_model import PlainModel


class Plain(MLModel):
    """One model in the server's own process."""

    async def load(self) -> bool:
        self.model = PlainModel(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (packed,) = payload.inputs[0].data
        scores = ResponseOutput(
            name="scores",
            datatype="BYTES",
            shape=[1, 1],
            parameters={"content_type": Base64Codec.ContentType},
            data=[self.model.score_packed(packed)],
        )
        return InferenceResponse(model_name=self.name, outputs=[scores])


async def main() -> None:
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=int(sys.argv[2]),
        grpc_port=0,
        metrics_endpoint=None,
        parallel_workers=0,
        gzip_enabled=False,
    )
    model = ModelSettings(
        name="plain", implementation=Plain, parameters=ModelParameters(uri=sys.argv[1])
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    uvloop.run(main())
