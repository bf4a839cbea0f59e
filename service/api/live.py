"""What the console reads besides the tasks: figures of all workers, who asks, a trial score.

    FleetFigures, Tasks --GET /v1/live--> LiveView          the caller's token --> TokenView
    body --POST /v1/playground/score--> as POST /v1/score on the public port, for who may read

The playground scores on this port, for a page of one origin can read no other's answers.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from contract.schema import FeatureSchema
from service.api.body import read_json
from service.api.boundary import HEADERS, REQUEST_ID
from service.api.guard import MayRead
from service.api.oip import INFER_PATHS
from service.api.ports import Scores, Tasks
from service.api.score import score_in_turn, serialise
from service.api.views import LiveView, TokenView
from service.decoder import RequestDecoder
from service.gate import Gate
from service.live_figures import FleetFigures
from service.score_spread import BOUNDS
from service.settings import Settings

PLAYGROUND = "/v1/playground/score"
# The routes whose requests are the service's traffic; a trial score is none.
_SCORING = frozenset({"/v1/score", *INFER_PATHS})


def figures_router(figures: FleetFigures, tasks: Tasks, gate: Gate) -> APIRouter:
    """Routes of scope read."""
    router = APIRouter(tags=["console"])

    @router.get("/v1/live", summary="Counters of all workers of this service, now")
    async def show_live(_: MayRead) -> LiveView:
        found = await figures.live(_SCORING)
        return LiveView(
            generation=tasks.snapshot.generation,
            status=gate.state,
            behind=tasks.behind,
            at=found.at,
            workers=found.workers,
            in_flight=found.in_flight,
            requests=found.requests,
            refusals=found.refusals,
            bounds=found.bounds,
            latency=found.latency,
            tiers=found.tiers,
            store_faults=found.store_faults,
            tasks=found.tasks,
            spread_bounds=BOUNDS.tolist(),
            spread=found.spread,
        )

    @router.get("/v1/token", summary="Whose token this is, and what it opens")
    async def show_token(token: MayRead) -> TokenView:
        return TokenView(name=token.name, scopes=sorted(token.scopes), expires_s=token.expires_s)

    @router.get("/v1/schema", summary="The model's fields", response_model=FeatureSchema)
    async def show_schema(_: MayRead) -> Response:
        return Response(tasks.schema.model_dump_json(), media_type="application/json")

    return router


def playground_router(
    scorer: Scores, decoder: RequestDecoder, gate: Gate, settings: Settings
) -> APIRouter:
    """The document of this route is openapi.py's, for its body is one model's."""
    router = APIRouter(tags=["console"], include_in_schema=False)

    @router.post(PLAYGROUND)
    async def score(request: Request, _: MayRead) -> Response:
        gate.check()
        body = await read_json(request.receive, request.scope[HEADERS], settings.max_body_bytes)
        with gate:
            result = await score_in_turn(gate, scorer, decoder.score(body))
            answer = serialise(result, request.scope[REQUEST_ID])
        return Response(answer, media_type="application/json")

    return router
