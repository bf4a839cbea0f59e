"""Where a request goes that has come as far as its head.

    head --Doorkeeper--> the bytes of a 429 in the one JSON form, counted: the house is full
                    ├--> who takes it without the application: quick_score.py
                    └--> None: it is for the application

Under overload most requests are refused, so what a refusal costs decides how many others are
served: this one makes nothing of the head, starts no task and reads no body. Health checks,
documents and metrics are never refused for want of room.
"""

from __future__ import annotations

from collections.abc import Collection

from service.api.boundary import sound_request_id
from service.api.errors import problem_of
from service.api.paths import Paths
from service.api.quick_score import PATH, QuickScore
from service.errors import Overloaded
from service.exchange import Headers, Taker
from service.gate import Gate
from service.metrics import Metrics

_QUICK = PATH.encode()


class Doorkeeper:
    """Stands before the public port's direct routes."""

    def __init__(
        self, gate: Gate, paths: Collection[str], metrics: Metrics, quick: QuickScore | None = None
    ) -> None:
        self._gate = gate
        self._paths = Paths(paths)
        self._quick = quick
        self._record = {path: metrics.request(path) for path in paths}

    def __call__(self, method: bytes, target: bytes, headers: Headers) -> bytes | Taker | None:
        # While draining each answer ends its connection, which is for the Boundary to do.
        if method != b"POST" or self._gate.state != "ready":
            return None
        try:
            self._gate.check()
        except Overloaded as err:
            problem = problem_of(err)
        else:
            if self._quick is None or target != _QUICK:
                return None
            return self._quick.taker(headers)
        path = target.partition(b"?")[0].decode("latin-1")
        found = self._paths.find(path)
        if found is None:
            return None
        self._record[found[0]](problem.status, 0.0, problem.code)
        return problem.answer(sound_request_id(dict(headers).get(b"x-request-id")), path)
