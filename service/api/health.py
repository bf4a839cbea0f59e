"""GET /livez, /readyz and /metrics: what a cluster asks a process.

    Gate + TaskRegistry --> 200 or 503          FleetFigures --> text for a scraper

Neither answer depends on the feature store: were it down, the whole fleet would leave at once.
"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service.api.ports import Tasks
from service.gate import Gate
from service.live_figures import FleetFigures


class Alive(BaseModel):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether the process wants traffic, and which generation of the tasks it serves."""

    status: Literal["starting", "ready", "draining"]
    generation: int
    reason: str = Field(default="", description="What it waits for, or why it is behind.")


def live_router() -> APIRouter:
    """For both ports."""
    router = APIRouter(tags=["health"])

    @router.get("/livez", summary="Is the process alive?")
    async def livez() -> Alive:
        return Alive()

    return router


def health_router(gate: Gate, tasks: Tasks, figures: FleetFigures) -> APIRouter:
    """For the public port."""
    router = APIRouter(tags=["health"])

    @router.get(
        "/readyz",
        summary="Does the process want traffic?",
        responses={503: {"model": Readiness, "description": "Starting or draining."}},
    )
    async def readyz(response: Response) -> Readiness:
        if gate.state != "ready":
            response.status_code = 503
        return Readiness(
            status=gate.state, generation=tasks.snapshot.generation, reason=tasks.behind
        )

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics(request: Request) -> Response:
        body, content_type = await figures.exposition(request.headers.get("accept"))
        return Response(body, headers={"Content-Type": content_type})

    return router
