"""Public request bodies to messages of one model.

bytes --RequestDecoder.score---> ScoreRequest --> Scorer (which checks fields and tasks by name)
      --RequestDecoder.events--> Events       --> FeatureStore.append
          ├--> Malformed      no JSON, or not UTF-8
          └--> InvalidField   a type, a length or a range; says where
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from contract.schema import FeatureSchema
from service.errors import InvalidField, Malformed
from service.features import Event
from service.messages import ScoreRequest
from service.request_types import events_type, score_type
from service.settings import Settings

# msgspec ends a message with "at `$.items[3].tags`" or "at `key` in `$.context`".
_PATH = re.compile(r"`\$\.?(.*)`$")
Message = TypeVar("Message")


class RequestDecoder:
    """Reads the bodies of one model's requests."""

    def __init__(self, schema: FeatureSchema, settings: Settings) -> None:
        self._score = msgspec.json.Decoder(score_type(schema, settings))
        self._events = msgspec.json.Decoder(events_type(schema, settings, documented=False))
        self._behaviours = schema.behaviours
        self._string_users = schema.user_id_type == "string"
        self._string_items = schema.item_id_type == "string"

    def score(self, body: bytes | bytearray) -> ScoreRequest:
        """Decode one score request.

        Raises:
            Malformed, InvalidField: see the module.
        """
        request = _decode(self._score, body)
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
        events = _decode(self._events, body).events
        if self._string_users:
            _refuse_nul("events[].user_id", [event.user_id for event in events])
        if self._string_items:
            _refuse_nul("events[].item_id", [event.item_id for event in events])
        for at, event in enumerate(events):
            self._check_behaviour(f"events[{at}].behaviour", event.behaviour)
        return [Event(str(e.user_id), e.item_id, e.behaviour, e.ts) for e in events]

    def _check_behaviour(self, where: str, behaviour: str) -> None:
        if behaviour not in self._behaviours:
            known = ", ".join(self._behaviours) or "none"
            raise InvalidField(where, f"no such behaviour; this model has {known}")


def _decode(decoder: msgspec.json.Decoder[Message], body: bytes | bytearray) -> Message:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as err:
        message, _, place = str(err).partition(" - at ")
        found = _PATH.search(place)
        raise InvalidField(found[1] if found and found[1] else "body", message) from err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise Malformed(f"the body is not JSON in UTF-8: {err}") from err


def _refuse_nul(where: str, ids: Sequence[int | str]) -> None:
    if "\0" in "".join(map(str, ids)):
        raise InvalidField(where, "an id cannot hold the character NUL")
