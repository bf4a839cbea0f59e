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
Span = tuple[Stage, float, float]  # its begin and end


class Timeline:
    """One request's beginning and the stages that have ended, in seconds of time.perf_counter."""

    __slots__ = ("since", "spans")

    def __init__(self) -> None:
        self.since = time.perf_counter()
        self.spans: list[Span] = []

    def server_timing(self) -> bytes:
        """The value of a Server-Timing header (https://www.w3.org/TR/server-timing/), until now."""
        parts = [f"{stage};dur={(end - begin) * 1000:.3f}" for stage, begin, end in self.spans]
        parts.append(f"total;dur={(time.perf_counter() - self.since) * 1000:.3f}")
        return ", ".join(parts).encode("ascii")


request_timeline: ContextVar[Timeline | None] = ContextVar("request_timeline", default=None)
