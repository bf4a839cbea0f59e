"""A whole process: both ports, its start, its signals, its end."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.errors import ConfigError, StoreUnavailable
from service.server import bind
from tests.fakes import FakeParts
from tests.live_server import live_server, settings_for_tests

ROOT = Path(__file__).parents[2]
REQUEST = {"user_id": 1, "item_ids": [1]}
PROGRAM = """
from service.launch import serve_alone
from service.logs import configure_logs
from service.server import bind
from tests.fakes import FakeParts
from tests.live_server import settings_for_tests
parts = FakeParts()
{change}
settings = settings_for_tests(drain_s={drain_s})
configure_logs(settings.log_level)
serve_alone(settings, bind(settings), parts.open)
"""


@dataclass(frozen=True, slots=True)
class Process:
    """A server in a process of its own, and its addresses."""

    handle: subprocess.Popen[str]
    public: str
    admin: str

    def signal(self, number: signal.Signals) -> None:
        self.handle.send_signal(number)

    def ended(self) -> int:
        return self.handle.wait(timeout=30)


@contextmanager
def process(drain_s: float = 600.0, change: str = "") -> Iterator[Process]:
    code = PROGRAM.format(drain_s=drain_s, change=change)
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as handle:
        try:
            assert handle.stdout is not None
            listening = next(r for r in map(json.loads, handle.stdout) if r["event"] == "listening")
            yield Process(handle, listening["public"], listening["admin"])
        finally:
            handle.kill()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.01)


def ready(url: str) -> int:
    return httpx.get(f"{url}/readyz").status_code


def test_sigterm_drains_before_it_stops() -> None:
    """Balancers go on sending for a while after a process has said that it leaves."""
    with process(drain_s=3.0) as running:
        until(lambda: ready(running.public) == 200)
        running.signal(signal.SIGTERM)
        until(lambda: ready(running.public) == 503)
        assert httpx.get(f"{running.public}/livez").status_code == 200
        assert httpx.post(f"{running.public}/v1/score", json=REQUEST).status_code == 200
        assert httpx.get(f"{running.admin}/livez").status_code == 200
        assert running.ended() == 0


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGINT]]
)
def test_a_second_sigterm_or_ctrl_c_skips_the_drain(signals: list[signal.Signals]) -> None:
    with process(drain_s=600.0) as running:
        until(lambda: ready(running.public) == 200)
        for number in signals[:-1]:
            running.signal(number)
            until(lambda: ready(running.public) == 503)  # equal signals that wait are merged
        running.signal(signals[-1])
        assert running.ended() == 0


def test_a_slow_start_can_be_ended() -> None:
    with process(change="parts.started.clear()") as running:
        assert ready(running.public) == 503
        assert httpx.get(f"{running.public}/livez").status_code == 200
        running.signal(signal.SIGTERM)
        assert running.ended() == 0


def test_a_request_in_flight_is_answered_before_the_end() -> None:
    parts = FakeParts()
    with live_server(parts.open) as live, ThreadPoolExecutor(1) as pool:
        live.loop.call_soon_threadsafe(parts.scorer.held.clear)
        answer = pool.submit(httpx.post, f"{live.public}/v1/score", json=REQUEST)
        until(lambda: live.service.gate.in_flight == 1)
        live.loop.call_soon_threadsafe(live.server.stop)
        until(lambda: refused(live.public))
        live.loop.call_soon_threadsafe(parts.scorer.held.set)
        assert answer.result(timeout=20).status_code == 200
    assert parts.calls == ["start", "stop"]


def test_a_wave_of_callers_is_let_in_within_a_few_rounds_of_the_loop() -> None:
    """A busy loop's rounds are long: one caller a round would leave most of them waiting."""
    callers = 64

    async def rounds(address: tuple[str, int]) -> int:
        with ExitStack() as held:
            waiting = held.enter_context(selectors.DefaultSelector())
            for _ in range(callers):
                one = held.enter_context(socket.create_connection(address))
                one.sendall(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n")
                waiting.register(one, selectors.EVENT_READ)
            taken = 0
            while waiting.get_map():
                await asyncio.sleep(0)
                taken += 1
                for answered, _ in waiting.select(0):
                    waiting.unregister(answered.fileobj)
            return taken

    with live_server(FakeParts().open) as live:
        host, port = live.public.removeprefix("http://").split(":")
        asked = asyncio.run_coroutine_threadsafe(rounds((host, int(port))), live.loop)
        assert asked.result(timeout=20) < callers


def test_a_listening_socket_never_blocks_whoever_duplicates_it() -> None:
    """The flag is shared by all descriptors, also those of other workers, who would hang."""
    for sock in bind(settings_for_tests()):
        with sock, sock.dup() as again:
            assert not os.get_blocking(sock.fileno())
            assert not os.get_blocking(again.fileno())


def refused(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_failed_start_ends_the_server_with_its_reason() -> None:
    parts = FakeParts()
    parts.failure = StoreUnavailable("the task store cannot be read")
    with (
        pytest.raises(StoreUnavailable, match="cannot be read"),
        live_server(parts.open),
    ):
        pass
    assert parts.calls == ["start", "stop"]


def test_a_taken_port_is_refused_with_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}: "):
            bind(settings_for_tests(admin_port=port))


def test_a_caller_who_leaves_while_sending_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with live_server(FakeParts().open) as live:
        host, port = live.public.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            )
        figures = live.service.metrics.registry

        def counted(status: str) -> float | None:
            labels = {"route": "/v1/score", "status": status}
            return figures.get_sample_value("taskgraft_requests_total", labels)

        until(lambda: counted("4xx") == 1)
        assert not counted("5xx")
    assert "request_failed" not in capsys.readouterr().out
