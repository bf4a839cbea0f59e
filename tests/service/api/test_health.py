"""What a cluster asks."""

from __future__ import annotations

import httpx

from service.app import Service, create_service
from tests.fakes import FakeParts
from tests.live_server import settings_for_tests


async def test_ready_tells_the_generation(public: httpx.AsyncClient, service: Service) -> None:
    answer = await public.get("/readyz")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ready", "generation": 0, "reason": ""},
    )
    service.gate.drain()
    answer = await public.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "draining")


async def test_a_starting_process_is_alive_but_not_ready(parts: FakeParts) -> None:
    service = create_service(settings_for_tests(), parts.open)
    transport = httpx.ASGITransport(service.public)
    async with httpx.AsyncClient(transport=transport, base_url="http://public") as public:
        assert (await public.get("/livez")).status_code == 200
        answer = await public.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "starting")


async def test_readiness_does_not_depend_on_the_feature_store(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    parts.events.down = True
    assert (await public.get("/readyz")).status_code == 200


async def test_every_answer_is_counted_under_its_route(public: httpx.AsyncClient) -> None:
    await public.get("/v1/tasks/click")
    await public.get("/v1/tasks/typed-by-a-caller")
    await public.get("/nowhere")
    await public.post("/v1/score", content=b"{")
    text = (await public.get("/metrics")).text
    for series in (
        'taskgraft_requests_total{route="/v1/tasks/{name}",status="2xx"} 1.0',
        'taskgraft_requests_total{route="/v1/tasks/{name}",status="4xx"} 1.0',
        'taskgraft_requests_total{route="other",status="4xx"} 1.0',
        'taskgraft_requests_total{route="/v1/score",status="4xx"} 1.0',
        "taskgraft_ready 1.0",
        "taskgraft_in_flight 0.0",
    ):
        assert series in text
    assert "typed-by-a-caller" not in text
    assert "nowhere" not in text
