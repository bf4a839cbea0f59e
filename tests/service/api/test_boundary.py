"""The outermost layer: request ids, the last resort, what is counted."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.boundary import Boundary
from service.metrics import Metrics


def client(app: ASGIApp, metrics: Metrics | None = None) -> httpx.AsyncClient:
    boundary = Boundary(app, {}, metrics or Metrics())
    return httpx.AsyncClient(transport=httpx.ASGITransport(boundary), base_url="http://test")


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("secret")


async def broken_midway(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("secret")


@pytest.mark.parametrize("given", ["r-1", "a" * 128, "00-4bf92f:x/y+z=", "A.b_c"])
async def test_a_sound_request_id_is_kept(given: str) -> None:
    async with client(fine) as http:
        answer = await http.get("/", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", [b"", b"a" * 129, b"a b", b"a\tb", b"<x>", b"\xff", b'"'])
async def test_any_other_request_id_is_replaced(given: bytes) -> None:
    async with client(fine) as http:
        answer = await http.get("/", headers={b"X-Request-ID": given})
    assert len(answer.headers["X-Request-ID"]) == 32


async def test_request_ids_differ() -> None:
    async with client(fine) as http:
        ids = {(await http.get("/")).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


async def test_an_unknown_error_becomes_one_fixed_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with client(broken) as http:
        answer = await http.get("/", headers={"X-Request-ID": "r-1"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert answer.json()["request_id"] == "r-1"
    assert "secret" not in answer.text
    logged = capsys.readouterr().out
    assert "RuntimeError: secret" in logged
    assert logged.count("request_failed") == 1


async def test_an_error_in_the_middle_of_an_answer_is_logged_and_not_answered_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await Boundary(broken_midway, {}, Metrics())(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert "RuntimeError: secret" in capsys.readouterr().out


async def test_a_cancelled_request_is_counted_and_stays_cancelled() -> None:
    metrics = Metrics()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(asyncio.CancelledError):
        await Boundary(waiting, {}, metrics)(scope, never, nowhere)
    series = {"route": "other", "status": "4xx"}
    assert metrics.registry.get_sample_value("taskgraft_requests_total", series) == 1


async def test_anything_but_http_is_left_alone() -> None:
    await Boundary(broken, {}, Metrics())({"type": "websocket", "path": "/"}, never, nowhere)


async def never() -> Message:
    raise AssertionError


async def nowhere(message: Message) -> None:
    raise AssertionError
