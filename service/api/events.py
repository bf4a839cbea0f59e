"""POST /v1/events, a bare ASGI callable: append to the behaviour sequences.

    body --RequestDecoder--> events --FeatureStore.append--> 202 once they are stored

Everything raised rises to the Boundary. A call that failed can be repeated, for a repeated
event changes nothing.
"""

from __future__ import annotations

import orjson
from starlette.types import Receive, Scope, Send

from service.api.body import read_json
from service.api.boundary import HEADERS, REQUEST_ID, send_json
from service.api.ports import Events
from service.decoder import RequestDecoder
from service.gate import Gate
from service.settings import Settings


class EventsRoute:
    """Takes events in."""

    def __init__(
        self, features: Events, decoder: RequestDecoder, gate: Gate, settings: Settings
    ) -> None:
        self._features = features
        self._decoder = decoder
        self._gate = gate
        self._most = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._gate.check()
        # A body on its way takes no place: whoever sends slowly keeps nobody out.
        body = await read_json(receive, scope[HEADERS], self._most)
        with self._gate:
            events = self._decoder.events(body)
            await self._features.append(events)
            answer = {"request_id": scope[REQUEST_ID], "accepted": len(events)}
            await send_json(send, 202, orjson.dumps(answer))
