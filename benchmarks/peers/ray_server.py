"""Ray Serve: `python ray_server.py MODEL PORT`.

One replica with the raw request, as its "HTTP Guide" shows, and the settings of "Performance
Tuning" and "Enable High Throughput on Ray Serve": throughput mode, HAProxy as the door (it listens
on all interfaces), and max_ongoing_requests for a replica that is always busy. No access log.
"""

from __future__ import annotations

import os
import signal
import sys

# Read when ray is imported. Its workers are nice to others by default; no peer else is.
os.environ |= {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

import ray
from plain_model import PlainModel
from ray import serve
from safetensors.numpy import load
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(
    num_replicas=1,
    ray_actor_options={"num_cpus": 1},
    max_ongoing_requests=32,
    logging_config={"enable_access_log": False},
)
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
