"""A full house over real HTTP: refused at the door, and at the door alone."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.fakes import FakeParts
from tests.live_server import ADMIN, LiveServer, live_server, settings_for_tests
from tests.service_process import until

REQUEST = {"user_id": 1, "item_ids": [1]}
BODY = json.dumps(REQUEST).encode()
WHOLE = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


@contextmanager
def full_house() -> Iterator[LiveServer]:
    """A service with one place, which is taken."""
    parts = FakeParts()
    with (
        live_server(parts.open, settings_for_tests(max_in_flight=1)) as live,
        ThreadPoolExecutor(1) as pool,
    ):
        live.loop.call_soon_threadsafe(parts.scorer.held.clear)
        held = pool.submit(httpx.post, f"{live.public}/v1/score", json=REQUEST, timeout=60)
        until(lambda: live.service.gate.in_flight == 1)
        yield live
        live.loop.call_soon_threadsafe(parts.scorer.held.set)
        assert held.result(timeout=20).status_code == 200


def test_a_refusal_has_the_form_of_all_others_and_keeps_the_connection() -> None:
    with full_house() as live, httpx.Client(base_url=live.public) as client:
        named = {"X-Request-ID": "mine"}
        answers = [client.post("/v1/score", json=REQUEST, headers=named) for _ in range(3)]
        client.post("/v1/events", json={"events": []})
        inference = client.post("/v2/models/click/infer", json={})
        figures = client.get("/metrics").text
    for answer in answers:
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "overloaded"
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == "mine"
        assert int(answer.headers["Retry-After"]) >= 1
    assert inference.status_code == 429
    assert list(inference.json()) == ["error"]
    sockets = {answer.extensions["network_stream"] for answer in answers}
    assert len(sockets) == 1
    assert 'taskgraft_requests_total{route="/v1/score",status="4xx"} 3.0' in figures
    assert 'taskgraft_requests_total{route="/v1/events",status="4xx"} 1.0' in figures


def test_each_refusal_names_the_request_that_it_is_for() -> None:
    with full_house() as live, httpx.Client(base_url=live.public) as client:
        for given in ("a", "b", "much-longer/than=that+0", "x" * 128):
            answer = client.post("/v1/score", json=REQUEST, headers={"X-Request-ID": given})
            assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == given
        made = [client.post("/v1/score", json=REQUEST).json()["request_id"] for _ in range(2)]
        assert made[0] != made[1]


def test_a_full_house_answers_all_else_and_whoever_asks_for_leave() -> None:
    with full_house() as live, httpx.Client(base_url=live.public) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/v1/score").status_code == 405
        assert client.post("/v1/score?a=b", json=REQUEST).status_code == 429
        asking = client.post("/v1/score", json=REQUEST, headers={"Expect": "100-continue"})
        assert asking.status_code == 429
        leaving = client.post("/v1/score", json=REQUEST, headers={"Connection": "close"})
        assert leaving.status_code == 429
        assert leaving.headers["Connection"] == "close"


def test_a_body_that_comes_after_the_refusal_is_passed_over() -> None:
    """In bytes of its own, as a slow caller sends it: the next request is read as such."""
    with full_house() as live, httpx.Client(base_url=live.public) as client:
        slow = client.post("/v1/score", content=iter([b'{"user_id": 1, ', b'"item_ids": [1]}']))
        assert slow.status_code == 429
        assert client.post("/v1/score", json=REQUEST).status_code == 429
        assert client.get("/v1/tasks").status_code == 200


def test_health_figures_and_administration_never_lack_room() -> None:
    with full_house() as live:
        for path in ("/livez", "/readyz", "/metrics", "/v1/tasks", "/openapi.json"):
            assert httpx.get(f"{live.public}{path}").status_code == 200
        assert httpx.get(f"{live.admin}/v1/workers", headers=ADMIN).status_code == 200
        assert httpx.get(f"{live.public}/v1/score").status_code == 405


@contextmanager
def connection(live: LiveServer) -> Iterator[socket.socket]:
    host, port = live.public.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        yield sock


def asked(sock: socket.socket, data: bytes, answers: int = 1) -> list[int]:
    """The statuses of so many answers."""
    sock.sendall(data)
    found: list[int] = []
    with sock.makefile("rb") as reader:
        for _ in range(answers):
            found.append(int(reader.readline().split(b" ")[1]))
            length = 0
            while (line := reader.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            reader.read(length)
    return found


@pytest.mark.parametrize("cut", [1, 10, WHOLE.index(BODY), len(WHOLE) - 1])
def test_a_full_house_answers_requests_in_a_row_and_in_pieces(cut: int) -> None:
    with full_house() as live, connection(live) as sock:
        assert asked(sock, WHOLE + WHOLE, answers=2) == [429, 429]
        sock.sendall(WHOLE[:cut])
        time.sleep(0.05)
        assert asked(sock, WHOLE[cut:] + WHOLE, answers=2) == [429, 429]


def test_who_sends_an_empty_line_after_an_answer_is_hung_up_on_as_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.server._KEEP_ALIVE_S", 1)
    with live_server(FakeParts().open) as live, connection(live) as sock:
        assert asked(sock, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") == [200]
        sock.sendall(b"\r\n")
        assert sock.recv(1) == b""
