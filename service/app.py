"""The composition root: every object once, and the two ASGI applications over them.

Settings --create_service--> Service(public, admin) --start--> ready --stop--> closed
              └--> ConfigError, CorruptBundle, ...: nothing was started
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.types import ASGIApp

from contract.schema import FeatureSchema
from service.api.admin import grafting_router, reading_router
from service.api.application import application
from service.api.backbone import backbone_router
from service.api.boundary import Boundary, Headers, Stamp
from service.api.console import console_router
from service.api.docs import docs_router
from service.api.doorkeeper import Doorkeeper
from service.api.events import EventsRoute
from service.api.guard import Guard
from service.api.health import health_router, live_router
from service.api.live import figures_router, playground_router
from service.api.oip import INFER_PATHS, InferRoute, oip_models_router, oip_server_router
from service.api.ports import Backbones, Events, Grafting, Scores, Tasks
from service.api.quick_score import QuickScore
from service.api.routing import routing_router
from service.api.score import ScoreRoute
from service.api.tasks import schema_router, tasks_router
from service.decoder import RequestDecoder
from service.gate import Gate
from service.live_figures import FleetFigures, OwnFigures
from service.metrics import Metrics
from service.openapi import admin_document, public_document
from service.scoring import Scorer
from service.settings import Settings
from service.signature import Signature
from service.timeline import Timeline
from service.tracing import Traces, open_traces

_GATED = ("/v1/score", "/v1/events", *INFER_PATHS)


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands behind the routes.

    Attributes:
        start: connects the stores, restores the wanted tasks, warms up; raises if it cannot.
        stop: lets go of all of it; called once, also when start failed.
        worker: this process among all that follow the task store.
        quick: the scorer, where short runs are done in place.
    """

    schema: FeatureSchema
    scorer: Scores
    tasks: Tasks
    grafting: Grafting
    backbones: Backbones
    events: Events
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    worker: str = ""
    quick: Scorer | None = None


async def granted() -> None:
    """A process that is alone waits for nobody."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process's service: two applications over the same objects.

    Attributes:
        door: of the public port.
    """

    settings: Settings
    public: ASGIApp
    admin: ASGIApp
    door: Doorkeeper
    gate: Gate
    metrics: Metrics
    parts: Parts
    traces: Traces | None

    async def start(self, admission: Callable[[], Awaitable[None]] = granted) -> None:
        """Traffic is wanted from the return on; the admission is awaited before."""
        await self.parts.start()
        await admission()
        self.gate.open()

    async def stop(self) -> None:
        await self.parts.stop()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)


def create_service(
    settings: Settings,
    open_parts: Callable[[Settings, Metrics], Parts],
    metrics: Metrics | None = None,
    figures: FleetFigures | None = None,
) -> Service:
    """Build everything; nothing runs yet.

    Args:
        settings: all of them.
        open_parts: makes what stands behind the routes.
        metrics: this process's figures; new ones by default.
        figures: of all workers; this process's alone by default.
    """
    metrics = metrics or Metrics()
    gate = Gate(
        settings.max_in_flight, settings.default_deadline_ms / 1000, settings.max_task_share
    )
    metrics.in_flight.set_function(lambda: gate.in_flight)
    metrics.ready.set_function(lambda: gate.state == "ready")
    parts = open_parts(settings, metrics)
    traces = open_traces(parts.worker) if settings.traces else None
    watch = None if traces is None else traces.record
    stamp = _stamp(settings, gate, parts)
    figures = figures or OwnFigures(metrics)
    decoder = RequestDecoder(parts.schema, settings)
    public, direct = _public(settings, gate, metrics, parts, figures, decoder)
    quick = None
    if parts.quick is not None and watch is None:  # a trace follows the whole way
        quick = QuickScore(parts.quick, decoder, gate, metrics, stamp, settings.max_body_bytes)
    return Service(
        settings=settings,
        public=Boundary(public, direct, metrics, stamp, watch),
        admin=Boundary(_admin(settings, gate, parts, figures, decoder), {}, metrics, stamp, watch),
        door=Doorkeeper(gate, _GATED, metrics, quick),
        gate=gate,
        metrics=metrics,
        parts=parts,
        traces=traces,
    )


def _public(
    settings: Settings,
    gate: Gate,
    metrics: Metrics,
    parts: Parts,
    figures: FleetFigures,
    decoder: RequestDecoder,
) -> tuple[ASGIApp, Mapping[str, ASGIApp]]:
    """The application, and the routes that go past it."""
    signature = Signature(parts.schema, settings)
    routers: tuple[APIRouter, ...] = (
        tasks_router(parts.tasks),
        schema_router(parts.tasks),
        live_router(),
        health_router(gate, parts.tasks, figures),
        oip_server_router(gate),
        oip_models_router(gate, parts.tasks, signature),
    )
    if settings.docs:
        routers = (*routers, docs_router())
    app = application("taskgraft", routers, openapi=True)
    app.describe = lambda: public_document(app, parts.schema, settings)
    infer = InferRoute(parts.scorer, decoder, signature, gate, metrics, settings)
    direct: dict[str, ASGIApp] = {
        "/v1/score": ScoreRoute(parts.scorer, decoder, gate, metrics, settings),
        "/v1/events": EventsRoute(parts.events, decoder, gate, settings),
        **dict.fromkeys(INFER_PATHS, infer),
    }
    return app, direct


def _admin(
    settings: Settings, gate: Gate, parts: Parts, figures: FleetFigures, decoder: RequestDecoder
) -> ASGIApp:
    routers = (
        console_router(),
        figures_router(figures, parts.tasks, gate),
        playground_router(parts.scorer, decoder, gate, settings),
        reading_router(parts.tasks),
        grafting_router(parts.grafting, settings),
        routing_router(parts.tasks, parts.grafting),
        backbone_router(parts.backbones, settings),
        live_router(),
    )
    app = application("taskgraft administration", routers, openapi=False)
    app.describe = lambda: admin_document(app, parts.schema, settings)
    return Guard(app, settings.admin_tokens)


def _stamp(settings: Settings, gate: Gate, parts: Parts) -> Stamp:
    """Headers of every answer: who gave it, its times, and that a caller should go elsewhere."""
    always: Headers = ()
    if settings.worker_header:
        always = ((b"x-worker", parts.worker.encode()),)
    leaving = (*always, (b"connection", b"close"))

    def stamp(timeline: Timeline) -> Headers:
        headers = leaving if gate.state == "draining" else always
        if not settings.server_timing:
            return headers
        return (*headers, (b"server-timing", timeline.server_timing()))

    return stamp
