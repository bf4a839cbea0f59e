"""Ray Serve: `python ray_server.py MODEL PORT`.

One replica with the raw request, as its HTTP guide shows (https://docs.ray.io/en/latest/serve/
http-guide.html); max_ongoing_requests as its performance guide advises for a single busy replica.
"""

from __future__ import annotations

import signal
import sys

import ray
from plain_model import PlainModel
from ray import serve
from safetensors.numpy import load
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=32)
class Plain:
    """One replica."""

    def __init__(self, folder: str) -> None:
        self.model = PlainModel(folder)

    async def __call__(self, request: Request) -> Response:
        return Response(self.model.score(load(await request.body())).tobytes())


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Plain.bind(sys.argv[1]), route_prefix="/score")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pause()
