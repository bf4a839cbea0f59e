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
from functools import lru_cache

from service.api.boundary import sound_request_id
from service.api.errors import problem_of
from service.api.paths import Paths
from service.api.quick_score import PATH, QuickScore
from service.errors import Overloaded
from service.exchange import Headers, Taker
from service.gate import Gate
from service.metrics import Metrics

_QUICK = PATH.encode()
_LONGEST_PATH = 512  # a thousand of them are kept
_PLACE = b"?"  # in no request id, and in no such refusal
_Refusal = tuple[str, int, str, bytes]  # route, status, code, answer


class Doorkeeper:
    """Stands before the public port's direct routes."""

    def __init__(
        self, gate: Gate, paths: Collection[str], metrics: Metrics, quick: QuickScore | None = None
    ) -> None:
        self._gate = gate
        self._paths = Paths(paths)
        self._quick = quick
        self._record = {path: metrics.request(path) for path in paths}
        # Refusals differ by little more than whom they are for.
        self._refusal = lru_cache(1024)(self._written)

    def __call__(self, method: bytes, target: bytes, headers: Headers) -> bytes | Taker | None:
        # While draining each answer ends its connection, which is for the Boundary to do.
        if method != b"POST" or self._gate.state != "ready":
            return None
        full = self._gate.full()
        if full is None:
            if self._quick is None or target != _QUICK:
                return None
            return self._quick.taker(headers)
        path = target.partition(b"?")[0]
        if len(path) > _LONGEST_PATH:
            return None
        request_id = sound_request_id(dict(headers).get(b"x-request-id")).encode("ascii")
        refusal = self._refusal(path, str(full), full.retry_after_s, len(request_id))
        if refusal is None:
            return None
        route, status, code, answer = refusal
        self._record[route](status, 0.0, code)
        return answer.replace(_PLACE * len(request_id), request_id)

    def _written(
        self, path: bytes, sentence: str, retry_after_s: float, id_length: int
    ) -> _Refusal | None:
        """A refusal of a request id of so many bytes, with places where it goes."""
        told = path.decode("latin-1")
        found = self._paths.find(told)
        if found is None:
            return None
        problem = problem_of(Overloaded(sentence, retry_after_s))
        answer = problem.answer((_PLACE * id_length).decode(), told)
        return found[0], problem.status, problem.code, answer
