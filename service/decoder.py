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
from typing import Any, TypeVar

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
_UNNAMED = "[...]"  # what msgspec writes for any key of a dict
_LONGEST_NAMED = 64 << 10  # a larger body is not read twice to find the key
_LONGEST_NAME = 64
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
        try:
            request = decode(self._score, body)
        except InvalidField as err:
            if _UNNAMED not in err.where or len(body) > _LONGEST_NAMED:
                raise
            raise self._named(err, body) from err
        return self._checked(request)

    def score_of(self, fields: Mapping[str, object]) -> ScoreRequest:
        """A score request that came in another form than JSON, under the same rules.

        Raises:
            InvalidField: see the module.
        """
        try:
            return self._checked(msgspec.convert(fields, self._score_type))
        except msgspec.ValidationError as err:
            raise _invalid(err) from err

    def _named(self, refusal: InvalidField, body: Body) -> InvalidField:
        """The same refusal with the field's name, which msgspec does not tell.

        Each field is tried in a request of its own, so the work grows no faster than the body.
        """
        place = refusal.where.partition(_UNNAMED)[0]
        try:
            given = msgspec.json.decode(body)
        except msgspec.ValidationError:  # a number that no type can hold
            return refusal
        items = given.get("item_ids")
        items = items[:1] if isinstance(items, list) else items
        ids = {"user_id": given.get("user_id"), "item_ids": items}
        for name, value in _fields_at(given, place).items():
            try:
                msgspec.convert(ids | _request_of(place, {name: value}), self._score_type)
            except msgspec.ValidationError as err:
                message, where = _told(err)
                _, unnamed, rest = where.partition(_UNNAMED)
                if unnamed:
                    return InvalidField(f"{place}.{name[:_LONGEST_NAME]}{rest}", message)
        return refusal

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
    message, where = _told(err)
    if where in _LIMITED and message.startswith(_TOO_LONG):
        return TooLarge(f"{where}: at most {message.removeprefix(_TOO_LONG)} in one request")
    return InvalidField(where, message)


def _told(err: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and where."""
    message, _, place = str(err).partition(" - at ")
    found = _PATH.search(place)
    return message, found[1] if found and found[1] else "body"


def _fields_at(request: Any, place: str) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    """What the request gives at context, user, items[3], history or rank.weights."""
    for step in re.findall(r"\w+", place):
        try:
            request = request[int(step) if step.isdigit() else step]
        except (LookupError, TypeError):  # a name that stands twice: the last one counts
            return {}
    return request if isinstance(request, dict) else {}


def _request_of(place: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Nothing but these fields at the place."""
    top, _, inner = place.partition(".")
    if inner:
        return {top: {inner: fields}}
    return {"items": [fields]} if top.startswith("items[") else {top: fields}


def _refuse_nul(where: str, ids: Sequence[int | str]) -> None:
    if "\0" in "".join(map(str, ids)):
        raise InvalidField(where, "an id cannot hold the character NUL")
