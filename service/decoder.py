"""Public request bodies to messages of one model.

bytes ---RequestDecoder.score-----> ScoreRequest --> Scorer (which checks fields, tasks by name)
tensors --RequestDecoder.score_of-> ScoreRequest (the values of signature.py)
bytes ---RequestDecoder.events----> Events       --> FeatureStore.append
          ├--> Malformed      no JSON, or not UTF-8
          ├--> TooLarge       more items or events than a request may hold
          └--> InvalidField   a type, a length or a range; says where
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from contract.schema import FeatureSchema
from service.errors import InvalidField, Malformed, TooLarge
from service.features import Event
from service.messages import ScoreRequest
from service.request_types import events_type, score_type
from service.settings import Settings

_TOO_LONG = "Expected `array` of length <= "
_LIMITED = ("item_ids", "items", "events")  # by a setting, not by the model
# msgspec ends a message with "at `$.items[3].tags`" or "at `key` in `$.context`".
_PATH = re.compile(r"`\$\.?(.*)`$")
Message = TypeVar("Message")
Body = bytes | bytearray | memoryview
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class RequestDecoder:
    """Reads the bodies of one model's requests."""

    def __init__(self, schema: FeatureSchema, settings: Settings) -> None:
        self._score_type = score_type(schema, settings)
        self._score = msgspec.json.Decoder(self._score_type)
        self._events = msgspec.json.Decoder(events_type(schema, settings, documented=False))
        self._behaviours = schema.behaviours
        self._string_users = schema.user_id_type == "string"
        self._string_items = schema.item_id_type == "string"
        self._event_unit = settings.event_time_unit
        self._event_future_s = settings.event_future_s

    def score(self, body: bytes | bytearray) -> ScoreRequest:
        """Decode one score request.

        Raises:
            Malformed, InvalidField: see the module.
        """
        return self._checked(decode(self._score, body))

    def score_of(self, fields: Mapping[str, object]) -> ScoreRequest:
        """A score request that came in another form than JSON, under the same rules.

        Raises:
            InvalidField: see the module.
        """
        try:
            return self._checked(msgspec.convert(fields, self._score_type))
        except msgspec.ValidationError as err:
            raise _invalid(err) from err

    def _checked(self, request: ScoreRequest) -> ScoreRequest:
        if self._string_users:
            _refuse_nul("user_id", [request.user_id])
        if self._string_items:
            _refuse_nul("item_ids", request.item_ids)
        if request.tasks is not None and len(set(request.tasks)) != len(request.tasks):
            raise InvalidField("tasks", "a name stands twice")
        if request.items is not None and len(request.items) != len(request.item_ids):
            raise InvalidField(
                "items", f"{len(request.items)} entries for {len(request.item_ids)} item_ids"
            )
        for behaviour in request.history or ():
            self._check_behaviour(f"history.{behaviour}", behaviour)
        return request

    def events(self, body: bytes | bytearray) -> list[Event]:
        """Decode one call's events.

        Raises:
            Malformed, InvalidField: see the module.
        """
        events = decode(self._events, body).events
        if self._string_users:
            _refuse_nul("events[].user_id", [event.user_id for event in events])
        if self._string_items:
            _refuse_nul("events[].item_id", [event.item_id for event in events])
        latest = self._latest()
        for at, event in enumerate(events):
            self._check_behaviour(f"events[{at}].behaviour", event.behaviour)
            if event.ts > latest:
                raise InvalidField(
                    f"events[{at}].ts",
                    f"{event.ts} is further in the future than {self._event_future_s:g} s; "
                    f"this service counts in {self._event_unit}",
                )
        return [Event(str(e.user_id), e.item_id, e.behaviour, e.ts) for e in events]

    def _latest(self) -> float:
        """The last ts that an event may have now."""
        if self._event_unit is None:
            return math.inf
        return (time.time() + self._event_future_s) * _PER_SECOND[self._event_unit]

    def _check_behaviour(self, where: str, behaviour: str) -> None:
        if behaviour not in self._behaviours:
            known = ", ".join(self._behaviours) or "none"
            raise InvalidField(where, f"no such behaviour; this model has {known}")


def decode(decoder: msgspec.json.Decoder[Message], body: Body) -> Message:
    """One JSON message; raises as the module says."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as err:
        raise _invalid(err) from err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise Malformed(f"the body is not JSON in UTF-8: {err}") from err


def _invalid(err: msgspec.ValidationError) -> InvalidField | TooLarge:
    message, _, place = str(err).partition(" - at ")
    found = _PATH.search(place)
    where = found[1] if found and found[1] else "body"
    if where in _LIMITED and message.startswith(_TOO_LONG):
        return TooLarge(f"{where}: at most {message.removeprefix(_TOO_LONG)} in one request")
    return InvalidField(where, message)


def _refuse_nul(where: str, ids: Sequence[int | str]) -> None:
    if "\0" in "".join(map(str, ids)):
        raise InvalidField(where, "an id cannot hold the character NUL")
