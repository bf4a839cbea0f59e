"""The admin port's routes for canaries and shadows.

{"stable", "canary", "shadow", "guard"} --PUT--> TaskRegistry.route --> RoutedView
└--> InvalidField, UnknownTask, TaskConflict, NotConverged: nothing changed anywhere
GET --> RoutingView, DriftView
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from service.api.admin import Name, Waiting, told
from service.api.body import parse_json, read_json
from service.api.boundary import HEADERS
from service.api.guard import MayGraft, MayRead
from service.api.ports import Grafting, Tasks
from service.api.tasks import known_name
from service.api.views import DriftView, RoutedView, RoutingView, SharesView, json_body, refusals
from service.errors import InvalidField
from service.routing import Canary, Guard, Routing, Wanted

_MAX_BYTES = 4096
_BODY = json_body("RoutingBody")
Version = Annotated[int, Field(ge=1, lt=2**31)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CanaryBody(_Body):
    """A version that answers some users: always the same ones, more as percent grows."""

    version: Version
    percent: float = Field(ge=0, le=100)


class GuardBody(_Body):
    """When the canary goes by itself; at least one of the limits."""

    max_psi: float | None = Field(default=None, gt=0, le=100)
    min_overlap: float | None = Field(default=None, gt=0, le=1)
    min_rows: int = Field(default=1000, ge=1, lt=2**31)


class RoutingBody(_Body):
    """All of a task's routing: what is left out is taken away, but the stable version stays."""

    stable: Version | None = Field(default=None, description="The present one if left out.")
    canary: CanaryBody | None = None
    shadow: Version | None = Field(default=None, description="Scores, but answers nobody.")
    guard: GuardBody | None = None

    def wanted(self) -> Wanted:
        """Raises InvalidField for a guard without a limit."""
        canary, guard = self.canary, self.guard
        if guard is not None and guard.max_psi is None and guard.min_overlap is None:
            raise InvalidField("guard", "expected max_psi, min_overlap or both")
        return Wanted(
            self.stable,
            Routing(
                None if canary is None else Canary(canary.version, canary.percent),
                self.shadow,
                None if guard is None else Guard(guard.max_psi, guard.min_overlap, guard.min_rows),
            ),
        )


def routing_router(tasks: Tasks, grafting: Grafting) -> APIRouter:
    """Reading needs the scope read, routing the scope graft."""
    router = APIRouter(tags=["routing"])

    @router.get(
        "/v1/tasks/{name}/routing", summary="Which versions see traffic", responses=refusals(404)
    )
    async def show_routing(name: Name, _: MayRead) -> RoutingView:
        return RoutingView.model_validate(tasks.routing(known_name(name)))

    @router.get(
        "/v1/tasks/{name}/drift",
        summary="How far canary and shadow are from the stable version",
        responses=refusals(404),
    )
    async def show_drift(name: Name, _: MayRead) -> DriftView:
        return DriftView.model_validate(await tasks.drift(known_name(name)))

    @router.put(
        "/v1/tasks/{name}/routing",
        summary="Choose the stable version, a canary and a shadow",
        responses=refusals(400, 404, 409, 413, 415, 422, 503),
        openapi_extra={"requestBody": _BODY},
    )
    async def route(
        name: Name, request: Request, token: MayGraft, options: Annotated[Waiting, Query()]
    ) -> RoutedView:
        body = await read_json(request.receive, request.scope[HEADERS], _MAX_BYTES)
        wanted = parse_json(RoutingBody, body).wanted()
        report = await grafting.route(known_name(name), wanted, actor=token.name, wait=options.wait)
        change = told("task_routed", report, token)
        shares = SharesView.model_validate(report.routing)
        return RoutedView(**dict(change), stable=change.version, **dict(shares))

    return router
