"""uvicorn's HTTP protocol with bounds on how a request arrives.

    bytes --GuardedProtocol--> uvicorn
                ├--> the door's answer, or whom it names for a plain request (exchange.py)
                ├--> 400, connection closed: no HTTP
                ├--> 431, connection closed: too much head, chunk framing or trailer
                └--> 408, connection closed: no whole request within arrival_s

httptools takes a head of any length, and joins it in quadratic time: one endless header would stop
the event loop. How much body there may be is for the routes to say.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api.boundary import sound_request_id
from service.api.errors import Problem
from service.exchange import Door, Exchange

_MAX_SURROUND_BYTES = 65_536
_NO_HTTP = Problem(400, "malformed", "the bytes are no HTTP/1.1 request")
_TOO_MUCH = Problem(
    431,
    "head_too_large",
    f"head, chunk framing and trailer may be {_MAX_SURROUND_BYTES} bytes, and as many as the body",
)


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    arrival_s: float
    door: Door

    @classmethod
    def within(cls, arrival_s: float, door: Door) -> type[GuardedProtocol]:
        """A class that knows its bounds: the server makes the protocols itself."""
        return type(cls.__name__, (cls,), {"arrival_s": arrival_s, "door": staticmethod(door)})

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
        elif (
            self.timeout_keep_alive_task is None
            and self.cycle.response_complete
            and not self.transport.is_closing()
        ):
            # Any byte ended the wait for the next request, also the rest of one that is answered
            # already, or an empty line.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        # The read that begins a message is free: it may also hold the end of the one before.
        if not self._begun:
            self._other_bytes += len(data) - (self._body_bytes - body_before)
            # As much again as there is body: chunks may be small, but not tiny.
            if self._other_bytes > _MAX_SURROUND_BYTES + self._body_bytes:
                self._refuse(_TOO_MUCH)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = self._arriving = True
        self._body_bytes = self._other_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if (exchange := self._exchange()) is not None:
            exchange.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._arriving = False
        self._stop_timer()
        if (exchange := self._exchange()) is not None:
            exchange.take(exchange)
            return
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        found = (
            self.door(self.parser.get_method(), self.url, self.headers) if self._plain() else None
        )
        if found is None:
            super().on_headers_complete()
        elif isinstance(found, bytes):
            self.cycle = cast(RequestResponseCycle, Exchange.answered(self))
            self.server_state.total_requests += 1
            self.transport.write(found)
        else:
            self.cycle = cast(RequestResponseCycle, Exchange(self, found))

    def _exchange(self) -> Exchange | None:
        """The request at hand, if it waits for an answer without the application."""
        found: object = self.cycle
        return found if isinstance(found, Exchange) and not found.response_complete else None

    def _plain(self) -> bool:
        # Whoever waits for leave to send, sends in a row or does not read its answers needs the
        # care of the long way.
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.expect_100_continue
            and not self.flow.write_paused
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
        )

    def finish(self, exchange: Exchange, status: bytes, rest: bytes) -> None:
        """Send an exchange's answer, and go on to what its connection sends next."""
        if self.transport.is_closing():
            return
        given = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        self.transport.write(b"".join((status, *given, rest)))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def hand_over(self, exchange: Exchange) -> None:
        """Tell the application of a request as if it had just come."""
        self.cycle = None  # type: ignore[assignment]  # as before a connection's first request
        super().on_headers_complete()
        super().on_body(exchange.body)
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
            self._refuse(
                Problem(408, "timeout", f"the request did not come whole in {self.arrival_s:g} s")
            )

    def send_400_response(self, msg: str) -> None:
        self._refuse(_NO_HTTP)

    def _refuse(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        # Nothing may come between the parts of an answer that has begun.
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            closing = replace(problem, headers={"Connection": "close"})
            self.transport.write(closing.answer(sound_request_id(None)))
        self.transport.close()
