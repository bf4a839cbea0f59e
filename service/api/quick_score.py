"""POST /v1/score where the run is short: no ASGI, one callback, a task for Redis only.

    head --QuickScore.taker--> a taker, or None: it is for ScoreRoute
    body --_Quick--> features, arrays --EnginePool.run_soon--> scores --> the answer's bytes

A run leaves nothing of the interpreter in the core's cache, so the way through server, application
and task costs a request as much as all that is done for it. Answers, figures and refusals are those
of ScoreRoute behind its Boundary; whatever is out of the ordinary is left to these.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine

from service.api.boundary import NO_ANSWER, Stamp, sound_request_id
from service.api.errors import problem_of
from service.api.score import serialise
from service.decoder import RequestDecoder
from service.engine import Scored
from service.exchange import Exchange, Headers, Taker
from service.features import UserFeatures
from service.gate import Gate, Turn
from service.logs import request_id as logged_id
from service.messages import Degraded
from service.metrics import Metrics
from service.scoring import Asked, Scorer
from service.timeline import Stage, Timeline

PATH = "/v1/score"
_JSON = b"application/json"
_MOST_BYTES = 1 << 18  # a larger body comes in many pieces, and takes its time anyhow
_CLOSE = (b"connection", b"close")
_HEAD = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n"


class QuickScore:
    """Takes plain requests."""

    def __init__(
        self,
        scorer: Scorer,
        decoder: RequestDecoder,
        gate: Gate,
        metrics: Metrics,
        stamp: Stamp,
        most_bytes: int,
    ) -> None:
        self.scorer = scorer
        self.decoder = decoder
        self.gate = gate
        self.metrics = metrics
        self.stamp = stamp
        self.record = metrics.request(PATH)
        self._most = min(most_bytes, _MOST_BYTES)
        self._fetching: set[asyncio.Task[None]] = set()

    def fetch(self, fetching: Coroutine[None, None, None]) -> None:
        """Features that somebody else keeps are waited for in a task."""
        task = asyncio.get_running_loop().create_task(fetching)
        self._fetching.add(task)  # else nobody would hold it
        task.add_done_callback(self._fetching.discard)

    def taker(self, headers: Headers) -> Taker | None:
        """Who takes a request with this head; None for one that ScoreRoute should see."""
        given = dict(headers)
        length = given.get(b"content-length", b"")
        plain = (
            length.isdigit()
            and len(length) <= len(str(self._most))
            and int(length) <= self._most
            and given.get(b"content-type", _JSON) == _JSON
            and b"content-encoding" not in given
            and len(given) == len(headers)  # else a name stands twice
        )
        return _Quick(self, sound_request_id(given.get(b"x-request-id"))) if plain else None


class _Quick:
    """One request, from its head to its answer; a run tells it as it would tell a future."""

    __slots__ = (
        "_asked", "_began", "_degraded", "_entered", "_exchange", "_request_id", "_service",
        "_stage", "_timeline", "_turn",
    )  # fmt: skip
    _asked: Asked
    _degraded: Degraded
    _exchange: Exchange

    def __init__(self, service: QuickScore, request_id: str) -> None:
        self._service = service
        self._timeline = Timeline()
        self._request_id = request_id
        self._stage: Stage | None = None
        self._entered = False
        self._turn: Turn | None = None

    def __call__(self, exchange: Exchange) -> None:
        """The body is whole."""
        self._exchange = exchange
        try:
            self._begin()
        except Exception as err:  # like a run's: the caller is told
            self.set_exception(err)

    def _begin(self) -> None:
        service, scorer = self._service, self._service.scorer
        self._begins("parse")
        request = service.decoder.score(self._exchange.body)
        asked = self._asked = scorer.understand(request)
        if not scorer.pool.in_place(asked.work):
            self._exchange.decline()
            return
        self._ends()
        self._enter(asked)
        self._begins("features")
        if scorer.at_once:
            self._go_on(*scorer.features(asked))
        else:
            service.fetch(self._fetched())

    async def _fetched(self) -> None:
        try:
            self._go_on(*await self._service.scorer.fetch(self._asked))
        except Exception as err:
            self.set_exception(err)

    def _go_on(self, features: UserFeatures, degraded: Degraded) -> None:
        self._ends()
        self._degraded = degraded
        self._begins("encode")
        scorer, asked = self._service.scorer, self._asked
        call = scorer.call(asked, features)
        self._ends()
        self._begins("run")
        scorer.pool.run_soon(call, asked.work, asked.until, self)

    # --- what the pool does to a future -----------------------------------------------------------

    def done(self) -> bool:
        """Whether the caller has left; asked once, when the turn has come."""
        gone = self._exchange.disconnected
        if gone:
            self._leave(asyncio.CancelledError())
            self._record(NO_ANSWER)
            self._exchange.end()
        return gone

    def set_result(self, scored: Scored) -> None:
        self._ends()
        result = self._service.scorer.answer(self._asked, scored, self._degraded)
        self._leave(None)
        self._begins("write")
        body = serialise(result, self._request_id)
        head = _HEAD % (len(body), self._request_id.encode("ascii"))
        self._send(b"HTTP/1.1 200 OK\r\n", head, body)
        self._ends()
        self._record(200)

    def set_exception(self, err: Exception) -> None:
        if isinstance(err, TimeoutError):
            err = self._asked.late()
        self._ends()
        self._leave(err)
        context = logged_id.set(self._request_id)
        problem = problem_of(err)
        logged_id.reset(context)
        self._exchange.keep_alive &= problem.headers.get("Connection") != "close"
        status, _, rest = problem.answer(self._request_id, PATH).partition(b"\r\n")
        self._send(status + b"\r\n", b"", rest)
        self._record(problem.status, problem.code)

    # --- its way ----------------------------------------------------------------------------------

    def _begins(self, stage: Stage) -> None:
        self._stage, self._began = stage, time.perf_counter()

    def _ends(self) -> None:
        stage, self._stage = self._stage, None
        if stage is not None:
            self._service.metrics.staged(stage, self._began, self._timeline)

    def _enter(self, asked: Asked) -> None:
        """Take a place; raises Overloaded."""
        gate, request = self._service.gate, asked.request
        gate.__enter__()
        self._entered = True
        turn = gate.serving(request.tasks or (), request.deadline_s)
        turn.__enter__()
        self._turn = turn

    def _leave(self, error: BaseException | None) -> None:
        """Give the place away, and count what the request was."""
        service, kind = self._service, None if error is None else type(error)
        turn, self._turn = self._turn, None
        entered, self._entered = self._entered, False
        if turn is not None:
            turn.__exit__(kind, error, None)
        if entered:
            service.gate.__exit__(kind, error, None)
        if turn is not None:
            seconds = time.perf_counter() - self._timeline.since
            service.metrics.count(self._asked.names, error, seconds)

    def _send(self, status: bytes, head: bytes, rest: bytes) -> None:
        stamp = self._service.stamp(self._timeline)
        self._exchange.keep_alive &= _CLOSE not in stamp
        lines = [b"%b: %b\r\n" % header for header in stamp]
        self._exchange.answer(status, b"".join((head, *lines, b"\r\n" if head else b"", rest)))

    def _record(self, status: int, code: str | None = None) -> None:
        self._service.record(status, time.perf_counter() - self._timeline.since, code)
