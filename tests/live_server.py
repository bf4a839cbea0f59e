"""A real server on free ports of 127.0.0.1, in a thread of the test's process.

FakeParts or real parts --live_server--> LiveServer(public, admin), ended with the block
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvloop
from starlette.types import ASGIApp

from service.app import Parts, Service, create_service
from service.auth import new_token
from service.metrics import Metrics
from service.server import Server, addresses, bind
from service.settings import Settings

SECRET, TOKEN = new_token("tester", ["read", "graft"])
ADMIN = {"Authorization": f"Bearer {SECRET}"}


def settings_for_tests(**changes: object) -> Settings:
    """Loopback, free ports, one admin token."""
    given: dict[str, object] = {
        "bundle": Path("bundle"),
        "host": "127.0.0.1",
        "port": 0,
        "admin_port": 0,
        "admin_tokens": (TOKEN,),
        "drain_s": 0.0,
    }
    return Settings.model_validate(given | changes)


@dataclass(frozen=True, slots=True)
class LiveServer:
    """Where the two ports listen, and the event loop they run in."""

    public: str
    admin: str
    service: Service
    server: Server
    loop: asyncio.AbstractEventLoop


@contextmanager
def live_server(
    open_parts: Callable[[Settings, Metrics], Parts], settings: Settings | None = None
) -> Iterator[LiveServer]:
    """Ready when entered; stopped, and its failures raised, when left."""
    settings = settings or settings_for_tests()
    sockets = bind(settings)
    public, admin = addresses(settings, sockets).values()
    service = create_service(settings, open_parts)
    server = Server(service, sockets)
    started: Future[asyncio.AbstractEventLoop] = Future()
    failures: list[Exception] = []

    async def main() -> None:
        started.set_result(asyncio.get_running_loop())
        await server.run()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(main())
            except Exception as err:
                failures.append(err)

    thread = threading.Thread(target=run)
    thread.start()
    loop = started.result(timeout=30)
    try:
        while service.gate.state == "starting" and thread.is_alive():
            time.sleep(0.005)
        if not failures:
            yield LiveServer(public, admin, service, server, loop)
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(server.stop)
        thread.join(timeout=30)
        if failures:
            raise failures[0]


def documents(service: Service) -> tuple[dict[str, Any], dict[str, Any]]:
    """The OpenAPI documents of the public and the admin port, without a server."""

    async def read(app: ASGIApp) -> dict[str, Any]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.get("/openapi.json", headers=ADMIN)
        document: dict[str, Any] = answer.raise_for_status().json()
        return document

    return asyncio.run(read(service.public)), asyncio.run(read(service.admin))
