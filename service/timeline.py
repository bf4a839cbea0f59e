"""What one request spent its time on.

    Boundary --request_timeline.set--> Timeline <--append-- Metrics.stage, once per stage
                                          └--> Server-Timing header, spans of a trace

A context variable, so that the scorer need not know who asks.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Literal

Stage = Literal["parse", "features", "encode", "run", "write"]
STAGES: tuple[Stage, ...] = ("parse", "features", "encode", "run", "write")
_NAMES = {stage: stage.encode() for stage in STAGES}
Span = tuple[Stage, float, float]  # its begin and end


class Timeline:
    """One request's beginning and the stages that have ended, in seconds of time.perf_counter."""

    __slots__ = ("since", "spans")

    def __init__(self) -> None:
        self.since = time.perf_counter()
        self.spans: list[Span] = []

    def server_timing(self) -> bytes:
        """The value of a Server-Timing header (https://www.w3.org/TR/server-timing/), until now."""
        stages = b"".join(
            [
                b"%b;dur=%.3f, " % (_NAMES[stage], (end - begin) * 1e3)
                for stage, begin, end in self.spans
            ]
        )
        return b"%btotal;dur=%.3f" % (stages, (time.perf_counter() - self.since) * 1e3)


request_timeline: ContextVar[Timeline | None] = ContextVar("request_timeline", default=None)
