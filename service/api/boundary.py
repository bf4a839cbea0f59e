"""The outermost ASGI layer of a port: request id, clock, last resort.

    server --scope, receive, send--> Boundary --> a direct route, or the FastAPI application
                                         └--> whatever they raise, as the one JSON form

Direct routes are bare ASGI callables, for bodies that must be cheap to read; {name} in their path
stands for one segment, which they find in the scope's path_params. Each answer carries
X-Request-ID: the caller's own if it is sound, a new one otherwise.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from random import getrandbits

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import Problem, problem_of
from service.api.paths import Paths
from service.logs import request_id as logged_id
from service.metrics import Metrics, Recorder
from service.timeline import Timeline, request_timeline
from service.tracing import Exchange

_SOUND_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
NO_ANSWER = 499
REQUEST_ID = "taskgraft.request_id"
HEADERS = "taskgraft.headers"
ROUTE = "taskgraft.route"  # the path of a direct route, as it was given
REFUSAL = "taskgraft.refusal"  # the error's code, set by whoever answers with it
Headers = tuple[tuple[bytes, bytes], ...]
Stamp = Callable[[Timeline], Headers]  # what every answer carries at this moment
Watch = Callable[[Exchange], None]  # told of every request once it is answered


class Boundary:
    """One port."""

    def __init__(
        self,
        app: ASGIApp,
        direct: Mapping[str, ASGIApp],
        metrics: Metrics,
        stamp: Stamp = lambda _: (),
        watch: Watch | None = None,
    ) -> None:
        self.app = app
        self._watch = watch
        self._stamp = stamp
        self._direct = direct
        self._paths = Paths(direct)
        # Routes are few; an unknown path is counted as "other", never by its text.
        self._recorder: Callable[[str], Recorder] = lru_cache(256)(metrics.request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        timeline = Timeline()
        headers = dict(scope["headers"])
        scope[HEADERS] = headers
        request_id = scope[REQUEST_ID] = sound_request_id(headers.get(b"x-request-id"))
        context, times = logged_id.set(request_id), request_timeline.set(timeline)
        answer = _Answer(send, request_id, partial(self._stamp, timeline))
        try:
            await self._dispatch(scope, receive, answer)
        except Exception as err:
            problem = problem_of(err)
            scope[REFUSAL] = problem.code
            if answer.status == NO_ANSWER:
                await send_problem(answer, problem, scope["path"], request_id)
        finally:
            logged_id.reset(context)
            request_timeline.reset(times)
            route, until = _route(scope), time.perf_counter()
            self._recorder(route)(answer.status, until - timeline.since, scope.get(REFUSAL))
            if self._watch is not None:
                method = scope["method"]
                self._watch(
                    Exchange(method, route, headers, request_id, answer.status, timeline, until)
                )

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._paths.find(scope["path"])
        if found is None:
            await self.app(scope, receive, send)
            return
        scope[ROUTE], scope["path_params"] = found
        if scope["method"] != "POST":
            raise HTTPException(405, "this path takes POST", {"Allow": "POST"})
        await self._direct[scope[ROUTE]](scope, receive, send)


class _Answer:
    """A send that puts the request id and the stamp on the answer and remembers its status."""

    __slots__ = ("_header", "_send", "_stamp", "status")

    def __init__(self, send: Send, request_id: str, stamp: Callable[[], Headers]) -> None:
        self._send = send
        self._stamp = stamp
        self._header = (b"x-request-id", request_id.encode("ascii"))
        self.status = NO_ANSWER

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._header, *self._stamp()]
        await self._send(message)


async def send_json(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Answer with a body that is JSON already."""
    await send_body(send, status, b"application/json", body, *headers)


async def send_body(
    send: Send, status: int, kind: bytes, body: bytes, *headers: tuple[bytes, bytes]
) -> None:
    """Answer with bytes of this content type."""
    head = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, problem: Problem, path: str, request_id: str) -> None:
    """Answer with a refusal."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in problem.headers.items()
    ]
    status, body = problem.told(request_id, path)
    await send_json(send, status, body, *headers)


def _route(scope: Scope) -> str:
    """The template of the path, whoever answered."""
    return str(scope.get(ROUTE) or getattr(scope.get("route"), "path", "other"))


def sound_request_id(given: bytes | None) -> str:
    """The caller's own, or a new one."""
    if given is not None and _SOUND_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{getrandbits(128):032x}"
