"""A scripted HTTP server on a free port, and one way to drive both clients."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypedDict, TypeVar, Unpack, cast
from urllib.parse import urlsplit

import pytest

from client import AsyncClient, Client

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """What the server says next; body may be JSON values or raw bytes."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Seen:
    """A request that reached the server; path as it stood on the wire."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


class Server:
    """Gives the answers in turn, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[Seen] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("content-length", 0))
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, parts.path, parts.query, headers, self.rfile.read(length))
                outer.seen.append(seen)
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                time.sleep(answer.delay_s)
                content = answer.content()
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except ConnectionError:
                    pass  # The client had enough of waiting.

            do_GET = do_POST = do_PUT = do_DELETE = _answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def say(self, *answers: Answer) -> None:
        self.answers = list(answers)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


class Options(TypedDict, total=False):
    admin_url: str
    token: str
    timeout_s: float


class Driver:
    """Runs one call on either client."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __call__(
        self, url: str, act: Callable[[Client], Result], **options: Unpack[Options]
    ) -> Result:
        if self._kind == "sync":
            with Client(url, **options) as client:
                return act(client)

        async def run() -> Result:
            async with AsyncClient(url, **options) as client:
                # Both have the same methods; here each gives something to await.
                return await cast(Callable[[AsyncClient], Awaitable[Result]], act)(client)

        return asyncio.run(run())


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Driver:
    """Both clients, for what both must do."""
    return Driver(request.param)
