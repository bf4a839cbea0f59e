"""uvicorn's HTTP protocol with a bound on what surrounds a body: head, chunk framing, trailers.

    bytes --GuardedProtocol--> uvicorn
                ├--> 431 and the end of the connection: more than _SURROUND_BYTES
                └--> the end of the connection: no whole head within _HEAD_S

httptools takes a head of any length, and joins it in quadratic time: one endless header would stop
the event loop. Bodies are bounded by who reads them.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_SURROUND_BYTES = 65_536
_HEAD_S = 20.0
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\n"
    b"connection: close\r\n\r\n"
)


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        super().connection_made(transport)
        self._begun = self._in_head = False
        self._body_bytes = 0
        self._other_bytes = 0
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(_HEAD_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._begun, body_before = False, self._body_bytes
        super().data_received(data)
        if self._in_head and self._timer is None:
            self._timer = self.loop.call_later(_HEAD_S, self.transport.close)
        # The read that begins a message is free: it may also hold the end of the one before.
        if not self._begun:
            self._other_bytes += len(data) - (self._body_bytes - body_before)
            # As many again as there is body: chunks may be small, but not tiny.
            if self._other_bytes > _SURROUND_BYTES + self._body_bytes:
                self._refuse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = True
        self._in_head = True
        self._body_bytes = self._other_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_REFUSAL)
        self.transport.close()
