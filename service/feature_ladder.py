"""Where a user's features come from, best first; the answer names the step it took.

    user --the store, within its budget--> "none": nothing is degraded
      └--> StoreUnavailable, or the request's share of time is over
             └--> a young copy: "near_cache" --> an older one: "stale" --> nothing: "no_history"

What the request itself brings is the scorer's: it turns "no_history" into "client_history". A read
never fails; an append does, for events that are not stored must not be called stored.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import nullcontext, suppress

from service.errors import StoreUnavailable
from service.features import NO_FEATURES, Event, FeatureStore, ReadNow, UserFeatures
from service.messages import Degraded
from service.near_cache import NearCache, NearCacheOptions

_CONNECTIONS = 4  # as many reads as a worker has under way at its usual load
_PAUSE_S = 0.05


class FeatureLadder:
    """Reads that always answer, over a store that may not.

    Args:
        store: asked first, except as lag_s says.
        cache: copies of what the store answered; keeps nothing if not given.
        budget_s: if the store keeps to one by itself, only a shorter limit is set here.
        lag_s: a copy this young is given without asking. Above 0, an event stored through another
            process may be unseen that long; one stored through this process is always seen.
        now: the store's read, where it has one that does not wait.
    """

    def __init__(
        self,
        store: FeatureStore,
        cache: NearCache | None = None,
        budget_s: float = math.inf,
        lag_s: float = 0.0,
        now: ReadNow | None = None,
    ) -> None:
        self._store = store
        self._cache = cache or NearCache(NearCacheOptions())
        self._budget_s = budget_s
        self._lag_s = lag_s
        self._now = now
        self.at_once = now is not None

    async def read(
        self, user: str, items: Sequence[str], within_s: float
    ) -> tuple[UserFeatures, Degraded]:
        """What is known of a user, within the time the request can spare."""
        if (copy := self._young(user, items)) is not None:
            return copy, "near_cache"
        began = self._cache.now()
        limit = asyncio.timeout(within_s) if within_s < self._budget_s else nullcontext()
        try:
            async with limit:
                features = await self._store.read(user, items, self._cache.last(user))
        except (StoreUnavailable, TimeoutError):
            return self._without(user)
        self._cache.keep(user, features, began)
        return features, "none"

    def read_now(self, user: str, items: Sequence[str]) -> tuple[UserFeatures, Degraded]:
        """The same without a wait; only where at_once is true."""
        if self._now is None:
            raise RuntimeError("this store has no read that does not wait")
        if (copy := self._young(user, items)) is not None:
            return copy, "near_cache"
        began = self._cache.now()
        try:
            features = self._now(user, items, self._cache.last(user))
        except StoreUnavailable:
            return self._without(user)
        self._cache.keep(user, features, began)
        return features, "none"

    def _without(self, user: str) -> tuple[UserFeatures, Degraded]:
        """What there is while the store does not answer."""
        return self._cache.find(user) or (NO_FEATURES, "no_history")

    def _young(self, user: str, items: Sequence[str]) -> UserFeatures | None:
        if self._lag_s and not items:
            return self._cache.younger_than(user, self._lag_s)
        return None

    async def connect(self, within_s: float) -> None:
        """Let the store have its connections before the first read, whose time is short.

        A store that is away is no reason to wait any longer: reads do without it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not await self._answers():  # noqa: ASYNC110  # a store tells nobody
                    await asyncio.sleep(_PAUSE_S)

    async def _answers(self) -> bool:
        pings = (self._store.ping() for _ in range(_CONNECTIONS))
        found = await asyncio.gather(*pings, return_exceptions=True)
        return not any(isinstance(one, StoreUnavailable) for one in found)

    async def append(self, events: Sequence[Event]) -> None:
        """Store events; the next read sees them.

        Raises:
            InvalidField, StoreUnavailable: as the store says; no copy is given up for it.
        """
        await self._store.append(events)
        self._cache.outdate({event.user for event in events})

    async def close(self) -> None:
        await self._store.close()
