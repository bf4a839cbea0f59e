"""POST /v1/score, from bytes to bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import msgspec
import numpy as np
import pytest

from service.app import Service, create_service
from service.errors import DeadlineExceeded, StoreUnavailable, TooLarge
from service.messages import ScoreAnswer
from tests.fakes import FakeParts
from tests.live_server import settings_for_tests

REQUEST = {"user_id": 1, "item_ids": [5, 6]}


def code(answer: httpx.Response) -> str:
    found: str = answer.json()["error"]["code"]
    return found


async def test_an_answer_has_the_documented_form(public: httpx.AsyncClient) -> None:
    answer = await public.post("/v1/score", json=REQUEST)
    assert answer.status_code == 200
    document = msgspec.json.decode(answer.content, type=ScoreAnswer)
    assert document.scores == {"click": [0.5, 0.5]}
    assert document.tasks["click"].version == 0
    assert set(answer.json()) == {
        "request_id", "model", "generation", "scores", "tasks", "degraded"
    }  # fmt: skip


async def test_a_ranking_comes_when_asked_for(public: httpx.AsyncClient) -> None:
    rank = {"weights": {"click": 1.0}, "top_k": 1}
    answer = await public.post("/v1/score", json=REQUEST | {"rank": rank})
    assert answer.json()["ranking"] == [{"item_id": 5, "score": 0.5, "index": 0}]


async def test_scores_of_several_tasks_are_columns_in_the_order_of_the_items(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    """Columns of one array are no contiguous memory, which the encoder of JSON cannot read."""
    await parts.tasks.graft("like", b"good prompt", activate=True, actor="ann")
    answer = await public.post("/v1/score", json=REQUEST)
    assert answer.json()["scores"] == {"click": [0.5, 0.5], "like": [0.5, 0.5]}
    assert not np.zeros((2, 2))[:, 0].flags.contiguous


@pytest.mark.parametrize(
    ("failure", "status", "name"),
    [
        (DeadlineExceeded("late"), 504, "deadline_exceeded"),
        (StoreUnavailable("gone"), 503, "store_unavailable"),
        (TooLarge("name the tasks"), 413, "too_large"),
    ],
)
async def test_each_known_failure_has_its_status(
    public: httpx.AsyncClient, parts: FakeParts, failure: Exception, status: int, name: str
) -> None:
    parts.scorer.failure = failure
    answer = await public.post("/v1/score", json=REQUEST)
    assert (answer.status_code, code(answer)) == (status, name)


async def test_an_unknown_failure_tells_nothing_but_the_request_id(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    parts.scorer.failure = RuntimeError("/secret/path is broken")
    answer = await public.post("/v1/score", json=REQUEST, headers={"X-Request-ID": "r-7"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == "r-7"


async def test_unknown_tasks_are_named(public: httpx.AsyncClient) -> None:
    answer = await public.post("/v1/score", json=REQUEST | {"tasks": ["click", "zap", "zip"]})
    assert answer.status_code == 404
    assert answer.json()["error"]["details"] == {"tasks": ["zap", "zip"]}


async def test_an_invalid_field_is_named(public: httpx.AsyncClient) -> None:
    answer = await public.post("/v1/score", json={"user_id": 1, "item_ids": [5, "x"]})
    assert answer.status_code == 422
    assert answer.json()["error"]["where"] == "item_ids[1]"


async def test_over_the_limit_is_refused_before_the_body_is_read(
    public: httpx.AsyncClient, service: Service, parts: FakeParts
) -> None:
    parts.scorer.held.clear()
    held = [asyncio.create_task(public.post("/v1/score", json=REQUEST)) for _ in range(2)]
    for _ in range(2):
        await parts.scorer.arrived.acquire()

    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    answer = await public.post("/v1/score", content=body())
    assert (answer.status_code, code(answer)) == (429, "overloaded")
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await public.get("/livez")).status_code == 200
    assert (await public.get("/readyz")).status_code == 200
    assert (await public.get("/metrics")).status_code == 200
    parts.scorer.held.set()
    assert [(await task).status_code for task in held] == [200, 200]
    assert service.gate.in_flight == 0


async def test_a_caller_who_leaves_frees_its_place_and_disturbs_nobody(
    public: httpx.AsyncClient, service: Service, parts: FakeParts
) -> None:
    parts.scorer.held.clear()
    leaving, staying = (
        asyncio.create_task(public.post("/v1/score", json=REQUEST)) for _ in range(2)
    )
    for _ in range(2):
        await parts.scorer.arrived.acquire()
    leaving.cancel()
    await asyncio.wait([leaving])
    assert service.gate.in_flight == 1
    parts.scorer.held.set()
    assert (await staying).status_code == 200


async def test_before_the_start_nothing_is_scored(parts: FakeParts) -> None:
    service = create_service(settings_for_tests(), parts.open)
    transport = httpx.ASGITransport(service.public)
    async with httpx.AsyncClient(transport=transport, base_url="http://public") as public:
        answer = await public.post("/v1/score", json=REQUEST)
        assert (answer.status_code, code(answer)) == (503, "not_ready")
        assert (await public.get("/livez")).status_code == 200
    assert parts.scorer.seen == []


async def test_score_and_events_take_post_alone(public: httpx.AsyncClient) -> None:
    for path in ("/v1/score", "/v1/events"):
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
            answer = await public.request(method, path)
            assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


async def test_bodies_on_their_way_keep_nobody_out(
    public: httpx.AsyncClient, service: Service, parts: FakeParts
) -> None:
    going_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await going_on.wait()
        yield b"}"

    waiting = [asyncio.create_task(public.post("/v1/score", content=slow())) for _ in range(5)]
    await asyncio.sleep(0)
    assert (await public.post("/v1/score", json=REQUEST)).status_code == 200
    going_on.set()
    assert {(await task).status_code for task in waiting} == {422}
