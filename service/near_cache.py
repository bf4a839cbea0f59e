"""Copies of what the feature store last said of a user.

They are for when it does not answer, and spare who has not changed the unpacking and encoding.

    (user, UserFeatures) --keep--> bounded bytes, least recently kept goes first
    user --find--> (UserFeatures, "near_cache" | "stale") or None      users --outdate--> "stale"

"near_cache" is a copy that is young and misses no event stored through this process. Writes of
other processes are not heard of, so a copy says nothing about them but its age.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import orjson

from service.features import UserFeatures

CopyTier = Literal["near_cache", "stale"]
_ENTRY_BYTES = 2600  # the objects of an entry with a few behaviours, their content left out
_ENCODED_BYTES = 1200  # the objects of what an encoder leaves with it, their content left out
_JSON_GROWTH = 4  # a parsed JSON object against its text


@dataclass(frozen=True, slots=True)
class NearCacheOptions:
    """How much is kept, and how long it is good for.

    Args:
        limit_bytes: of one process; 0 keeps nothing.
        near_s: so young a copy is still "near_cache".
        stale_s: so old a copy is not given at all.
        longest_read_s: a longer read may have missed an event stored meanwhile.
    """

    limit_bytes: int = 0
    near_s: float = 10.0
    stale_s: float = 600.0
    longest_read_s: float = 1.0


@dataclass(slots=True)
class _Copy:
    features: UserFeatures
    read_at: float
    size: int
    whole: bool


class NearCache:
    """Event loop only; one per process.

    Args:
        options: how much, how long.
        clock: in seconds.
        encoded_bytes: how large what an encoder leaves with a user's features may grow; nobody
            encodes them if not given.
    """

    def __init__(
        self,
        options: NearCacheOptions,
        clock: Callable[[], float] = time.monotonic,
        encoded_bytes: Callable[[UserFeatures], int] | None = None,
    ) -> None:
        self._options = options
        self._clock = clock
        self._encoded_bytes = encoded_bytes
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._written: OrderedDict[str, float] = OrderedDict()  # user -> when, the latest last
        self.size = 0

    def now(self) -> float:
        """What keep wants to know of the moment a read began."""
        return self._clock()

    def keep(self, user: str, features: UserFeatures, began: float) -> None:
        """Keep the answer of a read that began then; overrides of items are left out."""
        if not self._options.limit_bytes:
            return
        whole = (
            self._clock() - began <= self._options.longest_read_s
            and self._written.get(user, began) <= began
        )
        copy = self._copies.get(user)
        if copy is not None and copy.features.encoded is features.encoded:
            copy.read_at, copy.whole = began, whole
            self._copies.move_to_end(user)
            return
        size = self._size(user, features)
        if size > self._options.limit_bytes:
            return
        self._drop(user)
        if features.items:
            features = replace(features, items={})
        self._copies[user] = _Copy(features, began, size, whole)
        self.size += size
        while self.size > self._options.limit_bytes:
            self._drop(next(iter(self._copies)))

    def find(self, user: str) -> tuple[UserFeatures, CopyTier] | None:
        """The user's copy and what it is worth."""
        copy = self._copies.get(user)
        if copy is None:
            return None
        age = self._clock() - copy.read_at
        if age > self._options.stale_s:
            self._drop(user)
            return None
        near = copy.whole and age <= self._options.near_s
        return copy.features, "near_cache" if near else "stale"

    def last(self, user: str) -> UserFeatures | None:
        """The user's copy, whatever it is worth: to see whether anything has changed."""
        copy = self._copies.get(user)
        return None if copy is None else copy.features

    def younger_than(self, user: str, age_s: float) -> UserFeatures | None:
        """The user's copy if it is that young and misses nothing known here."""
        copy = self._copies.get(user)
        if copy is None or not copy.whole or self._clock() - copy.read_at > age_s:
            return None
        return copy.features

    def outdate(self, users: Iterable[str]) -> None:
        """Events of these users were stored: no copy has them, nor has a read under way."""
        if not self._options.limit_bytes:
            return
        now = self._clock()
        for user in users:
            self._written[user] = now
            self._written.move_to_end(user)
            if (copy := self._copies.get(user)) is not None:
                copy.whole = False
        while next(iter(self._written.values()), now) < now - self._options.longest_read_s:
            self._written.popitem(last=False)

    def _drop(self, user: str) -> None:
        if (copy := self._copies.pop(user, None)) is not None:
            self.size -= copy.size

    def _size(self, user: str, features: UserFeatures) -> int:
        """An estimate, rather too high: an array pins the stored bytes it is a view of."""
        histories = sum(len(ids) * ids.strides[0] for ids in features.histories.values())
        profile = len(orjson.dumps(features.profile)) * _JSON_GROWTH
        size = _ENTRY_BYTES + len(user) * 4 + histories + profile
        if self._encoded_bytes is not None:
            size += _ENCODED_BYTES + len(user) * 4 + self._encoded_bytes(features)
        return size
