"""The composition: one set of objects under two applications, and no way around a scope."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from itertools import combinations, count

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from service.api.application import Application
from service.api.boundary import Boundary
from service.api.guard import OPEN_PATHS, Guard, Requires
from service.app import Service, create_service
from service.auth import SCOPES, Scope, new_token
from tests.fakes import FakeParts
from tests.live_server import settings_for_tests

TOKENS = {
    scopes: new_token("-".join(("with", *scopes)), scopes)
    for size in range(1, len(SCOPES) + 1)
    for scopes in combinations(SCOPES, size)
}
SETTINGS = settings_for_tests(admin_tokens=tuple(token for _, token in TOKENS.values()))
SERVICE = create_service(SETTINGS, FakeParts().open)
CALLERS = count(int(ip_address("10.0.0.1")))


def admin_application(service: Service) -> Application:
    assert isinstance(service.admin, Boundary)
    guard = service.admin.app
    assert isinstance(guard, Guard)
    assert isinstance(guard.app, Application)
    return guard.app


def required_scope(route: BaseRoute) -> Scope | None:
    """The scope a route asks for; fails for a route that asks for none or for several."""
    assert isinstance(route, APIRoute), f"{route}: only FastAPI routes can ask for a scope"
    if route.path in OPEN_PATHS:
        return None
    calls = [dependency.call for dependency in route.dependant.dependencies]
    scopes = [call.scope for call in calls if isinstance(call, Requires)]
    assert len(scopes) == 1, f"{route.path} asks for {scopes or 'no scope'}"
    return scopes[0]


def admin_routes() -> Iterator[tuple[str, str, Scope | None]]:
    for route in admin_application(SERVICE).routes:
        scope = required_scope(route)
        assert isinstance(route, APIRoute)
        for method in route.methods or ():
            yield method, route.path.format(name="buy", sha256="0" * 64), scope


@pytest.fixture
async def admin() -> AsyncIterator[httpx.AsyncClient]:
    # Each from an address of its own: failures are counted by address.
    address = str(ip_address(next(CALLERS)))
    transport = httpx.ASGITransport(SERVICE.admin, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        yield client


@pytest.mark.parametrize("scopes", TOKENS)
@pytest.mark.parametrize(("method", "path", "needed"), list(admin_routes()))
async def test_a_route_opens_to_its_scope_alone(
    admin: httpx.AsyncClient, method: str, path: str, needed: Scope | None, scopes: tuple[Scope]
) -> None:
    headers = {"Authorization": f"Bearer {TOKENS[scopes][0]}"}
    answer = await admin.request(method, path, headers=headers)
    assert (answer.status_code == 403) is (needed is not None and needed not in scopes)
    assert answer.status_code != 401


@pytest.mark.parametrize(("method", "path", "needed"), list(admin_routes()))
async def test_without_a_token_only_livez_and_the_console_open(
    admin: httpx.AsyncClient, method: str, path: str, needed: Scope | None
) -> None:
    answer = await admin.request(method, path)
    assert (answer.status_code == 401) is (needed is not None)
    assert ("WWW-Authenticate" in answer.headers) is (needed is not None)


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/livez/",
        "/livez//",
        "/LIVEZ",
        "/livez/../v1/tasks",
        "/docs",
        "/index.html",
        "/console",
        "/console/",
        "/console/console.html",
        "/console/../app.py",
        "/console/%2e%2e/app.py",
    ],
)
async def test_without_a_token_nobody_learns_which_paths_there_are(
    admin: httpx.AsyncClient, path: str
) -> None:
    assert (await admin.get(path)).status_code == 401


def test_a_route_without_a_scope_would_be_found() -> None:
    """The walk above can fail."""
    router = APIRouter()

    @router.get("/v1/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(AssertionError, match="/v1/forgotten asks for no scope"):
        required_scope(router.routes[0])


async def test_both_ports_work_on_the_same_objects() -> None:
    secret, token = new_token("ann", ["graft"])
    parts = FakeParts()
    service = create_service(settings_for_tests(admin_tokens=(token,)), parts.open)
    await service.start()
    transports = httpx.ASGITransport(service.admin), httpx.ASGITransport(service.public)
    async with (
        httpx.AsyncClient(transport=transports[0], base_url="http://admin") as admin,
        httpx.AsyncClient(transport=transports[1], base_url="http://public") as public,
    ):
        headers = {"Authorization": f"Bearer {secret}"}
        await admin.put("/v1/tasks/buy", content=b"good prompt", headers=headers)
        request = {"user_id": 1, "item_ids": [1], "tasks": ["buy"]}
        answer = await public.post("/v1/score", json=request)
    assert answer.json()["generation"] == 1


async def test_a_service_that_cannot_start_never_becomes_ready() -> None:
    parts = FakeParts()
    parts.failure = RuntimeError("no store")
    service = create_service(settings_for_tests(), parts.open)
    with pytest.raises(RuntimeError, match="no store"):
        await service.start()
    assert service.gate.state == "starting"


async def test_docs_can_be_switched_off() -> None:
    for docs, status in ((True, 200), (False, 404)):
        service = create_service(settings_for_tests(docs=docs), FakeParts().open)
        transport = httpx.ASGITransport(service.public)
        async with httpx.AsyncClient(transport=transport, base_url="http://public") as public:
            assert (await public.get("/docs")).status_code == status
            assert (await public.get("/openapi.json")).status_code == 200


async def test_every_answer_tells_the_time_of_its_stages_unless_told_not_to() -> None:
    for told in (True, False):
        parts = FakeParts()
        service = create_service(settings_for_tests(server_timing=told), parts.open)
        await service.start()
        transport = httpx.ASGITransport(service.public)
        async with httpx.AsyncClient(transport=transport, base_url="http://public") as public:
            scored = await public.post("/v1/score", json={"user_id": 1, "item_ids": [5]})
            plain = await public.get("/v1/tasks")
        expected = r"parse;dur=\d+\.\d{3}, total;dur=\d+\.\d{3}" if told else ""
        assert re.fullmatch(expected, scored.headers.get("Server-Timing", ""))
        assert plain.headers.get("Server-Timing", "").startswith("total;dur=") == told
