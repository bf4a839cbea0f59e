"""What crosses the wire at the public door.

    bytes --decoder.py--> ScoreRequest, EventsRequest --> Scorer.score, FeatureStore.append
                                                     └--> InvalidField, Malformed

These are the shapes that every model has in common. decoder.py narrows them to one model's ids and
fields, and openapi.py shows the narrowed form.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Id = int | str  # the schema says which
Value = int | float | str | list[int | str] | None  # None counts as not given
Fields = dict[str, Value]
Degraded = Literal["none", "near_cache", "stale", "client_history", "no_history"]

INT64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
ID_LENGTH = 256  # characters
MAX_HISTORY = 4096  # the longest any schema reads
RequestedTask = Annotated[str, Meta(min_length=1, max_length=64)]


class Rank(Struct, frozen=True, forbid_unknown_fields=True):
    """Order the items by the weighted sum of their scores."""

    weights: Annotated[
        dict[RequestedTask, Annotated[float, Meta(ge=-1e9, le=1e9)]],
        Meta(min_length=1, description="Task to weight; every task named here must be scored."),
    ]
    top_k: (
        Annotated[int, Meta(ge=1, le=100_000, description="How many to return; all without it.")]
        | None
    ) = None


class ScoreRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Score one user's candidates.

    Attributes:
        items: as long as item_ids; overrides the item table, and carries the cross fields.
        history: behaviour to item ids, newest last.
    """

    user_id: Id
    item_ids: list[Id]
    tasks: list[str] | None = None
    context: Fields = {}
    user: Fields = {}
    items: list[Fields] | None = None
    history: dict[str, list[Id]] | None = None
    rank: Rank | None = None
    deadline_ms: int | None = None

    @property
    def deadline_s(self) -> float | None:
        """The request's own, if it names one."""
        return None if self.deadline_ms is None else self.deadline_ms / 1000


class WireEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """A user did something to an item."""

    user_id: Id
    item_id: Id
    behaviour: str
    ts: int


class EventsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Events to append to the behaviour sequences; a repeated one changes nothing."""

    events: list[WireEvent]


class ScoredTask(Struct, frozen=True):
    """The version that scored; 0 for a head of the bundle."""

    version: int


class RankedItem(Struct, frozen=True):
    """One place of the ranking; index is the item's place in item_ids."""

    item_id: Id
    score: float
    index: int


class ScoreAnswer(Struct, frozen=True):
    """One probability per item and task, in the order of item_ids.

    Documents what api/score.py writes from a ScoreResult.
    """

    request_id: str
    model: str
    generation: Annotated[int, Meta(description="Of the tasks; it rises with every change.")]
    scores: dict[str, list[float]]
    tasks: dict[str, ScoredTask]
    degraded: Annotated[Degraded, Meta(description="Where the histories came from.")]
    ranking: Annotated[list[RankedItem], Meta(description="Best first; when asked for.")] = []


class EventsAnswer(Struct, frozen=True):
    """How many events are stored now."""

    request_id: str
    accepted: int
