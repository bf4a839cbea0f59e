"""The messages of messages.py narrowed to one model, as structs made at start.

    FeatureSchema + limits --score_type, events_type--> structs that decode  (decoder.py)
                           --documented_score_type----> a struct to document (openapi.py)

All have the same ids, lengths and ranges. The documented one also spells out each field of context,
user, items and history, which decode into plain dicts: the encoder checks those by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from contract.schema import FeatureField, FeatureSchema, RawType, Side
from service.messages import (
    ID_LENGTH,
    INT64,
    MAX_HISTORY,
    EventsRequest,
    Rank,
    RequestedTask,
    ScoreRequest,
    WireEvent,
)
from service.settings import Settings

_Type = Any  # a type made at run time; the base of each struct says what decoding gives
_STRING_ID = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH, pattern="^[^\\x00]*$")]
# The decoder looks for NUL itself: the pattern costs ten times the decoding of the ids.
_DECODED_STRING_ID = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH)]


def score_type(schema: FeatureSchema, settings: Settings) -> type[ScoreRequest]:
    """What decodes a score request."""
    item_id = _id(schema.item_id_type, _DECODED_STRING_ID)
    histories = dict.__class_getitem__((str, _list(item_id, most=MAX_HISTORY)))
    made = msgspec.defstruct(
        "ScoreRequest",
        [
            *_score_fields(schema, settings, _DECODED_STRING_ID),
            ("history", histories | None, None),
        ],
        bases=(ScoreRequest,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )
    return cast(type[ScoreRequest], made)


def documented_score_type(schema: FeatureSchema, settings: Settings) -> type[Struct]:
    """A score request with every field of this model spelt out."""
    item_id = _id(schema.item_id_type, _STRING_ID)
    past = _list(item_id, most=MAX_HISTORY)
    row = _struct("ItemFields", _raw_fields(schema, "item", "cross"))
    history = _struct("History", [(name, past, []) for name in schema.behaviours])
    return msgspec.defstruct(
        "ScoreRequest",
        [
            *_score_fields(schema, settings, _STRING_ID),
            ("context", _struct("ContextFields", _raw_fields(schema, "context")), {}),
            ("user", _struct("UserFields", _raw_fields(schema, "user")), {}),
            ("items", _list(row, least=1, most=settings.max_items) | None, None),
            ("history", history | None, None),
        ],
        bases=(ScoreRequest,),
        kw_only=True,
        forbid_unknown_fields=True,
        frozen=True,
    )


def events_type(
    schema: FeatureSchema, settings: Settings, *, documented: bool
) -> type[EventsRequest]:
    """What decodes a call's events."""
    string: _Type = _DECODED_STRING_ID
    behaviour: _Type = str
    if documented:
        string, behaviour = _STRING_ID, Literal.__getitem__(schema.behaviours or ("",))
    event = msgspec.defstruct(
        "Event",
        [
            ("user_id", _id(schema.user_id_type, string)),
            ("item_id", _id(schema.item_id_type, string)),
            ("behaviour", behaviour),
            ("ts", INT64),
        ],
        bases=(WireEvent,),
        frozen=True,
        forbid_unknown_fields=True,
    )
    made = msgspec.defstruct(
        "EventsRequest",
        [("events", _list(event, least=1, most=settings.max_events))],
        bases=(EventsRequest,),
        frozen=True,
        forbid_unknown_fields=True,
    )
    return cast(type[EventsRequest], made)


def _score_fields(
    schema: FeatureSchema, settings: Settings, string: _Type
) -> list[tuple[str, _Type, Any]]:
    item_id = _id(schema.item_id_type, string)
    # Uniqueness is only documented here: the decoder checks it.
    tasks = Annotated[
        list[RequestedTask], Meta(min_length=1, extra_json_schema={"uniqueItems": True})
    ]
    deadline = Annotated[int, Meta(ge=1, le=settings.max_deadline_ms)]
    return [
        ("user_id", _id(schema.user_id_type, string), NODEFAULT),
        ("item_ids", _list(item_id, least=1, most=settings.max_items), NODEFAULT),
        ("tasks", tasks | None, None),
        ("rank", Rank | None, None),
        ("deadline_ms", deadline | None, None),
    ]


def _raw_fields(schema: FeatureSchema, *sides: Side) -> list[tuple[str, _Type, Any]]:
    """The fields a request may give; user_id and item_ids fill the id fields themselves."""
    by_id = (schema.user_id_field, schema.item_id_field)
    return [
        (f.name, _value(schema, f) | None, None)
        for f in schema.fields
        if f.side in sides and f.name not in by_id
    ]


def _value(schema: FeatureSchema, field: FeatureField) -> _Type:
    if field.kind == "dense":
        return float
    raw = next(v.type for v in schema.vocabularies if v.name == field.vocabulary)
    one = _id(raw, str)
    return one if field.kind == "categorical" else _list(one, most=field.max_values) | one


def _struct(name: str, fields: Iterable[tuple[str, _Type, Any]]) -> type[Struct]:
    """Fields may be called anything, so their Python names are numbers."""
    return msgspec.defstruct(
        name,
        [
            (f"field_{at}", kind, msgspec.field(default=default, name=label))
            for at, (label, kind, default) in enumerate(fields)
        ],
        forbid_unknown_fields=True,
    )


def _id(raw: RawType, string: _Type) -> _Type:
    return INT64 if raw == "int64" else string


def _list(of: _Type, *, least: int = 0, most: int) -> _Type:
    return Annotated[list.__class_getitem__(of), Meta(min_length=least, max_length=most)]
