"""The way past the application: the same answers, and every way out of it."""

from __future__ import annotations

import gc
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.quick_score import _Quick
from service.engine_pool import EnginePool
from service.parts import open_parts
from tests.live_server import LiveServer, live_server, settings_for_tests
from tests.redis_server import RedisServer
from tests.service.tiny import BUNDLE
from tests.service_process import until

GOOD: dict[str, Any] = {
    "user_id": "user-3",
    "item_ids": [100, 101, 999],
    "context": {"device": "phone"},
}
CASES: dict[str, dict[str, Any] | bytes] = {
    "good": GOOD,
    "ranked": GOOD | {"rank": {"weights": {"click": 1.0}, "top_k": 2}},
    "history": GOOD | {"history": {"clicked": [100, 101]}},
    "one task": GOOD | {"tasks": ["like"], "deadline_ms": 900},
    "unknown task": GOOD | {"tasks": ["nobody"]},
    "unknown weight": GOOD | {"rank": {"weights": {"nobody": 1.0}, "top_k": 2}},
    "unknown field": GOOD | {"user": {"nothing": 1}},
    "wrong type": GOOD | {"user_id": [1]},
    "too many items": GOOD | {"item_ids": list(range(20))},
    "no body": b"",
    "no json": b"{",
    "no utf-8": b'{"user_id": "\xff"}',
}


def raw(case: dict[str, Any] | bytes) -> bytes:
    return case if isinstance(case, bytes) else json.dumps(case).encode()


@contextmanager
def service(folder: Path, **changes: object) -> Iterator[LiveServer]:
    given: dict[str, object] = {
        "bundle": BUNDLE,
        "max_items": 10,
        "engine_threads": 1,
        "feature_store": f"embedded:{folder / 'features'}",
        "task_store": str(folder / "tasks"),
    }
    with live_server(open_parts, settings_for_tests(**given | changes)) as live:
        # The first request goes to a thread: nobody knows yet how long it takes.
        httpx.post(f"{live.public}/v1/score", json=GOOD).raise_for_status()
        yield live


@pytest.fixture(scope="module", params=["embedded", "redis"])
def live(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """With features in this process, and in another one."""
    folder = tmp_path_factory.mktemp("quick")
    with ExitStack() as running:
        changes = {}
        if request.param == "redis":
            server = RedisServer(folder)
            running.callback(server.stop)
            changes["feature_store"] = server.url
        yield running.enter_context(service(folder, **changes))


@pytest.fixture
def ran_soon(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Who was run without a task."""
    seen: list[object] = []
    run_soon = EnginePool.run_soon

    def noting(self: EnginePool, call: Any, work: int, until: float, asker: Any) -> None:  # noqa: ANN401
        seen.append(asker)
        run_soon(self, call, work, until, asker)

    monkeypatch.setattr(EnginePool, "run_soon", noting)
    return seen


def told(answer: httpx.Response) -> tuple[int, dict[str, str], str]:
    """All of an answer that does not hang on the moment."""
    times = re.sub(r"[0-9.]+", "n", answer.headers.get("server-timing", ""))
    headers = dict(answer.headers) | {"server-timing": times}
    for name in ("date", "connection"):
        headers.pop(name, None)
    return answer.status_code, headers, answer.text


@pytest.mark.parametrize("name", CASES)
def test_every_answer_is_the_applications(name: str, live: LiveServer) -> None:
    """A caller who wants the connection closed goes the long way."""
    headers = {"Content-Type": "application/json", "X-Request-ID": "mine"}
    body = raw(CASES[name])
    with httpx.Client(base_url=live.public, headers=headers) as client:
        quick = client.post("/v1/score", content=body)
        slow = client.post("/v1/score", content=body, headers={"Connection": "close"})
    assert told(quick) == told(slow)
    assert ("date" in quick.headers) is ("date" in slow.headers) is True


def test_a_plain_request_needs_no_task(live: LiveServer, ran_soon: list[object]) -> None:
    with httpx.Client(base_url=live.public) as client:
        for _ in range(3):
            assert client.post("/v1/score", json=GOOD).status_code == 200
    assert len(ran_soon) == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "close"},
        {"Expect": "100-continue"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Encoding": "identity"},
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_the_application(
    headers: dict[str, str], live: LiveServer, ran_soon: list[object]
) -> None:
    given = {"Content-Type": "application/json"} | headers
    answer = httpx.post(f"{live.public}/v1/score", content=raw(GOOD), headers=given)
    assert answer.status_code == 200
    assert not ran_soon


def test_a_body_in_pieces_is_a_body(live: LiveServer, ran_soon: list[object]) -> None:
    body = raw(GOOD)
    head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connected(live) as connection:
        for piece in (head[:20], head[20:], body[:5], body[5:9], body[9:]):
            connection.sendall(piece)
            until(lambda: True)
        assert answers(connection, 1) == [200]
    assert len(ran_soon) == 1


def test_requests_in_a_row_are_answered_in_their_order(live: LiveServer) -> None:
    def request(items: list[int]) -> bytes:
        body = raw(GOOD | {"item_ids": items})
        return b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
            len(body),
            body,
        )

    row = request([100]) + request([100, 101]) + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(live) as connection:
        connection.sendall(row + request(list(range(20))) + request([1]))
        assert answers(connection, 4) == [200, 200, 200, 413]


def test_what_is_too_much_for_the_event_loop_goes_to_a_thread(
    live: LiveServer, ran_soon: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EnginePool, "in_place", lambda self, work: False)
    assert httpx.post(f"{live.public}/v1/score", json=GOOD).status_code == 200
    assert not ran_soon


def test_a_fault_of_ours_is_a_500_that_tells_nothing(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError("secret")

    monkeypatch.setattr("service.api.quick_score.serialise", broken)
    with httpx.Client(base_url=live.public) as client:
        answer = client.post("/v1/score", json=GOOD)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        monkeypatch.undo()
        assert client.post("/v1/score", json=GOOD).status_code == 200
    assert live.service.gate.in_flight == 0


def test_what_was_answered_leaves_nothing_for_the_collector(live: LiveServer) -> None:
    """A request in a cycle would hold its arrays until the whole heap is looked through."""
    gc.collect()
    gc.disable()
    try:
        with httpx.Client(base_url=live.public) as client:
            for case in ("good", "unknown task", "no json"):
                for _ in range(4):
                    client.post("/v1/score", content=raw(CASES[case]))
        left = [found for found in gc.get_objects() if isinstance(found, _Quick)]
    finally:
        gc.enable()
    assert len(left) <= 1


def test_whoever_leaves_is_not_run_and_takes_no_place(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Any] = []
    run_soon = EnginePool.run_soon
    monkeypatch.setattr(EnginePool, "run_soon", lambda *given: waiting.append(given))
    body = raw(GOOD)
    with connected(live) as connection:
        head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        until(lambda: len(waiting) == 1)
        assert live.service.gate.in_flight == 1
    pool, _, work, end, asker = waiting[0]
    until(lambda: asker._exchange.disconnected)
    ran: list[object] = []
    live.loop.call_soon_threadsafe(run_soon, pool, ran.append, work, end, asker)
    until(lambda: live.service.gate.in_flight == 0)
    assert not ran


def test_a_full_house_refuses_also_what_has_come_as_far_as_its_body(tmp_path: Path) -> None:
    with service(tmp_path, max_task_share=0.01, max_in_flight=1) as live:
        live.service.gate._by_task["like"] = 1
        answer = httpx.post(f"{live.public}/v1/score", json=GOOD | {"tasks": ["like"]})
        assert answer.status_code == 429
        assert live.service.gate.in_flight == 0


def test_a_service_that_drains_ends_each_connection_with_its_answer(tmp_path: Path) -> None:
    with service(tmp_path, drain_s=60.0) as live, httpx.Client(base_url=live.public) as client:
        client.post("/v1/score", json=GOOD).raise_for_status()
        live.loop.call_soon_threadsafe(live.server.drain)
        until(lambda: live.service.gate.state == "draining")
        assert client.post("/v1/score", json=GOOD).headers["Connection"] == "close"


@contextmanager
def connected(live: LiveServer) -> Iterator[socket.socket]:
    host, port = live.public.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield connection


def answers(connection: socket.socket, count: int) -> list[int]:
    """The statuses of so many answers, or of those before the connection ended."""
    heard = b""
    while True:
        found = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", heard)]
        piece = b"" if len(found) >= count and heard.endswith(b"}") else connection.recv(65536)
        if not piece:
            return found
        heard += piece
