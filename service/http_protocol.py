"""uvicorn's HTTP protocol with bounds on how a request arrives.

    bytes --GuardedProtocol--> uvicorn
                ├--> 431, connection closed: too much head, chunk framing or trailer
                └--> 408, connection closed: no whole request within arrival_s

httptools takes a head of any length, and joins it in quadratic time: one endless header would stop
the event loop. How much body there may be is for the routes to say.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_SURROUND_BYTES = 65_536


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    arrival_s: float

    @classmethod
    def within(cls, arrival_s: float) -> type[GuardedProtocol]:
        """A class that knows its bound: the server makes the protocols itself."""
        return type(cls.__name__, (cls,), {"arrival_s": arrival_s})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._begun = False
        self._arriving = True
        self._body_bytes = 0
        self._other_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._watch_arrival()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._begun, body_before = False, self._body_bytes
        super().data_received(data)
        if self._arriving:
            self._watch_arrival()
        # The read that begins a message is free: it may also hold the end of the one before.
        if not self._begun:
            self._other_bytes += len(data) - (self._body_bytes - body_before)
            # As much again as there is body: chunks may be small, but not tiny.
            if self._other_bytes > _MAX_SURROUND_BYTES + self._body_bytes:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = self._arriving = True
        self._body_bytes = self._other_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._arriving = False
        self._stop_timer()
        super().on_message_complete()

    def _watch_arrival(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.arrival_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.flow.read_paused:
            # It is us who do not read, for an earlier request of this connection is being answered.
            self._watch_arrival()
        else:
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        # Nothing may come between the parts of an answer that has begun.
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            head = b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head % status)
        self.transport.close()
