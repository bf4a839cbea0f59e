"""What a caller gives: candidates to score, events to store. Checked by the server, not here.

ScoreOptions, Event --calls.py--> bytes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

Id = int | str
Value = int | float | str | Sequence[int | str] | None
Fields = Mapping[str, Value]


class Rank(TypedDict):
    """Order the items by the weighted sum of their scores."""

    weights: Mapping[str, float]
    top_k: NotRequired[int]


class ScoreOptions(TypedDict, total=False):
    """The optional parts of a score request.

    tasks: which to score; all live ones without it. context, user: fields of the request and of
    the user. items: fields per item, as many as item_ids. history: behaviour to item ids, newest
    last, instead of the stored one. deadline_ms: no answer is wanted after this.
    """

    tasks: Sequence[str]
    context: Fields
    user: Fields
    items: Sequence[Fields]
    history: Mapping[str, Sequence[Id]]
    rank: Rank
    deadline_ms: int


class Event(TypedDict):
    """A user did something to an item, at ts in the unit of the service's other events."""

    user_id: Id
    item_id: Id
    behaviour: str
    ts: int
