"""What a caller gives: candidates, events, routings. Checked by the server, not here.

ScoreOptions, Event, RoutingOptions --calls.py--> bytes
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


class Canary(TypedDict):
    """A version that answers a share of the users."""

    version: int
    percent: float


class Guard(TypedDict, total=False):
    """When the canary goes by itself: its scores drift too far, or rank items otherwise."""

    max_psi: float
    min_overlap: float
    min_rows: int


class RoutingOptions(TypedDict, total=False):
    """All of a task's routing; what is left out is taken away, but the stable version stays.

    stable: scores for everybody else. canary: answers some users, always the same ones. shadow:
    scores, but answers nobody. guard: of the canary.
    """

    stable: int
    canary: Canary
    shadow: int
    guard: Guard
