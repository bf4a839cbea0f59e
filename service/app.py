"""The composition root: every object once, and the two ASGI applications over them.

Settings --create_service--> Service(public, admin) --start--> ready --stop--> closed
              └--> ConfigError, CorruptBundle, ...: nothing was started
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import ASGIApp

from contract.schema import FeatureSchema
from service.api.admin import grafting_router, reading_router
from service.api.application import application
from service.api.boundary import Boundary
from service.api.events import EventsRoute
from service.api.guard import Guard
from service.api.health import health_router, live_router
from service.api.ports import Events, Scores, Tasks
from service.api.score import ScoreRoute
from service.api.tasks import schema_router, tasks_router
from service.decoder import RequestDecoder
from service.gate import Gate
from service.metrics import Metrics
from service.openapi import admin_document, public_document
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands behind the routes.

    Attributes:
        start: connects the stores, restores the wanted tasks, warms up; raises if it cannot.
        stop: lets go of all of it; called once, also when start failed.
    """

    schema: FeatureSchema
    scorer: Scores
    tasks: Tasks
    events: Events
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Service:
    """One process's service: two applications over the same objects."""

    settings: Settings
    public: ASGIApp
    admin: ASGIApp
    gate: Gate
    metrics: Metrics
    parts: Parts

    async def start(self) -> None:
        """Traffic is wanted from the return on."""
        await self.parts.start()
        self.gate.open()

    async def stop(self) -> None:
        await self.parts.stop()


def create_service(settings: Settings, open_parts: Callable[[Settings, Metrics], Parts]) -> Service:
    """Build everything; nothing runs yet."""
    metrics = Metrics()
    gate = Gate(settings.max_in_flight)
    metrics.in_flight.set_function(lambda: gate.in_flight)
    metrics.ready.set_function(lambda: gate.state == "ready")
    parts = open_parts(settings, metrics)
    return Service(
        settings=settings,
        public=_public(settings, gate, metrics, parts),
        admin=_admin(settings, metrics, parts),
        gate=gate,
        metrics=metrics,
        parts=parts,
    )


def _public(settings: Settings, gate: Gate, metrics: Metrics, parts: Parts) -> ASGIApp:
    routers = (
        tasks_router(parts.tasks),
        schema_router(parts.schema),
        live_router(),
        health_router(gate, parts.tasks, metrics),
    )
    app = application("taskgraft", routers, openapi=True, docs=settings.docs)
    app.describe = lambda: public_document(app, parts.schema, settings)
    decoder = RequestDecoder(parts.schema, settings)
    direct: dict[str, ASGIApp] = {
        "/v1/score": ScoreRoute(parts.scorer, decoder, gate, metrics, settings),
        "/v1/events": EventsRoute(parts.events, decoder, gate, settings),
    }
    return Boundary(app, direct, metrics)


def _admin(settings: Settings, metrics: Metrics, parts: Parts) -> ASGIApp:
    routers = (reading_router(parts.tasks), grafting_router(parts.tasks, settings), live_router())
    app = application("taskgraft administration", routers, openapi=False, docs=False)
    app.describe = lambda: admin_document(app)
    return Boundary(Guard(app, settings.admin_tokens), {}, metrics)
