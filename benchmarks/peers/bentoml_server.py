"""BentoML: `bentoml serve bentoml_server:Plain`, its model folder in PLAIN_MODEL.

"Services", "Parallelize requests handling" and "Input and output types" in its documents: one
worker, an async endpoint (a sync one pays for a thread at each request), access log, metrics and
traces off as "Observability" shows, arrays as base64 in a JSON string. uvloop and httptools are
there for its uvicorn. Adaptive batching is left off: a request is a batch already.
"""

from __future__ import annotations

import os

import bentoml
from plain_model import PlainModel


@bentoml.service(
    workers=1,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Plain:
    """One worker."""

    def __init__(self) -> None:
        self.model = PlainModel(os.environ["PLAIN_MODEL"])

    @bentoml.api
    async def score(self, arrays: str) -> dict[str, str]:
        return {"scores": self.model.score_packed(arrays)}
