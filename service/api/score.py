"""POST /v1/score, a bare ASGI callable: parse, one call, serialise.

    body --RequestDecoder--> ScoreRequest --Scorer.score--> Answer --orjson--> 200

Everything raised rises to the Boundary.
"""

from __future__ import annotations

import numpy as np
import orjson
from starlette.types import Receive, Scope, Send

from service.api.body import read_json
from service.api.boundary import HEADERS, REQUEST_ID, send_json
from service.api.ports import Answer, Scores
from service.decoder import RequestDecoder
from service.gate import Gate
from service.messages import ScoreRequest
from service.metrics import Metrics
from service.settings import Settings


class ScoreRoute:
    """Scores one user's candidates."""

    def __init__(
        self,
        scorer: Scores,
        decoder: RequestDecoder,
        gate: Gate,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self._scorer = scorer
        self._decoder = decoder
        self._gate = gate
        self._metrics = metrics
        self._most = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._gate.check()
        # A body on its way takes no place: whoever sends slowly keeps nobody out.
        body = await read_json(receive, scope[HEADERS], self._most)
        with self._gate:
            with self._metrics.stage("parse"):
                request = self._decoder.score(body)
            result = await score_in_turn(self._gate, self._scorer, request)
            with self._metrics.stage("write"):
                await send_json(send, 200, serialise(result, scope[REQUEST_ID]))


async def score_in_turn(gate: Gate, scorer: Scores, request: ScoreRequest) -> Answer:
    """Score what the gate has room for; raises Overloaded, and as the scorer does."""
    with gate.serving(request.tasks or (), request.deadline_s):
        return await scorer.score(request)


def serialise(result: Answer, request_id: str) -> bytes:
    """The body of a score's answer."""
    answer = {
        "request_id": request_id,
        "model": result.model,
        "generation": result.generation,
        "scores": result.scores,
        "tasks": {task: {"version": version} for task, version in result.versions.items()},
        "degraded": result.degraded,
    }
    if result.ranking is not None:
        answer["ranking"] = result.ranking
    return orjson.dumps(answer, default=np.ascontiguousarray, option=orjson.OPT_SERIALIZE_NUMPY)
