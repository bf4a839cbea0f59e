"""Both applications over fakes, called in process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from service.app import Service, create_service
from tests.fakes import FakeParts
from tests.live_server import ADMIN, settings_for_tests


@pytest.fixture
def parts() -> FakeParts:
    return FakeParts()


@pytest.fixture
async def service(parts: FakeParts) -> Service:
    settings = settings_for_tests(max_body_bytes=2000, max_prompt_bytes=2000, max_in_flight=2)
    service = create_service(settings, parts.open)
    await service.start()
    return service


@pytest.fixture
async def public(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(service.public)
    async with httpx.AsyncClient(transport=transport, base_url="http://public") as client:
        yield client


@pytest.fixture
async def admin(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(service.admin)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://admin", headers=ADMIN
    ) as client:
        yield client
