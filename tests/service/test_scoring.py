from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.embedded_store import open_embedded_store
from service.engine import Engine
from service.engine_pool import EnginePool
from service.errors import (
    DeadlineExceeded,
    InvalidField,
    StoreUnavailable,
    TooLarge,
    UnknownTask,
)
from service.feature_ladder import FeatureLadder
from service.features import Event, UserFeatures, UserRecord
from service.messages import Rank
from service.near_cache import NearCache, NearCacheOptions
from service.packing import Fields, Layout
from service.scoring import Scorer
from service.warm_up import Recent
from tests.service.endless import endless_bundle
from tests.service.tiny import LIMITS, NoFeatures, request, tiny


class Away(NoFeatures):
    """A feature store that does not answer."""

    async def read(self, user: str, *_: object) -> UserFeatures:
        raise StoreUnavailable("away")


async def test_every_live_task_is_scored_for_every_item(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        result = await world.scorer.score(request(item_ids=[100, 101, 999]))
        assert set(result.scores) == {"click", "like"}
        assert result.versions == {"click": 0, "like": 0}
        for scores in result.scores.values():
            assert scores.shape == (3,)
            assert np.all((scores > 0) & (scores < 1))


async def test_an_items_score_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        together = await world.scores(item_ids=[100, 101, 102, 103, 104])
        for at, item in enumerate([100, 101, 102, 103, 104]):
            alone = await world.scores(item_ids=[item])
            for task, scores in alone.items():
                np.testing.assert_allclose(scores[0], together[task][at], atol=1e-6)


async def test_only_the_asked_tasks_are_scored(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        assert set(await world.scores(tasks=["like"])) == {"like"}


async def test_unknown_tasks_are_named(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        with pytest.raises(UnknownTask) as caught:
            await world.scores(tasks=["like", "nope", "never"])
        assert caught.value.names == ("nope", "never")


async def test_more_tasks_than_the_limit_must_be_named(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        world.scorer._limits = type(LIMITS)(1, 1.0, 1.0, item_overrides=False)
        with pytest.raises(TooLarge, match="name the ones to score"):
            await world.scores()
        assert set(await world.scores(tasks=["click", "like"])) == {"click", "like"}


async def test_a_ranking_orders_by_the_weighted_sum(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        items = list(range(100, 120))
        rank = Rank(weights={"click": 2.0, "like": -1.0}, top_k=5)
        result = await world.scorer.score(request(item_ids=items, rank=rank))
        assert result.ranking is not None
        total = 2.0 * result.scores["click"].astype(float) - result.scores["like"].astype(float)
        best = np.argsort(-total, kind="stable")[:5]
        assert [row["item_id"] for row in result.ranking] == [items[at] for at in best]
        assert [row["index"] for row in result.ranking] == best.tolist()


async def test_a_weight_needs_a_scored_task(tmp_path: Path) -> None:
    async with tiny(tmp_path) as world:
        with pytest.raises(UnknownTask):
            await world.scorer.score(request(rank=Rank(weights={"nope": 1.0})))
        with pytest.raises(InvalidField, match="like is not among tasks"):
            await world.scorer.score(request(tasks=["click"], rank=Rank(weights={"like": 1.0})))


async def test_without_the_store_scoring_goes_on_and_says_so(tmp_path: Path) -> None:
    async with tiny(tmp_path, Away()) as world:  # type: ignore[arg-type]  # reads only
        assert (await world.scorer.score(request())).degraded == "no_history"
        given = await world.scorer.score(request(history={"clicked": [100]}))
        assert given.degraded == "client_history"
    async with tiny(tmp_path) as world:
        healthy = await world.scorer.score(request(history={"clicked": [100]}))
        assert healthy.degraded == "none"
        assert healthy.scores["click"].tobytes() == given.scores["click"].tobytes()


async def test_a_copy_scores_what_the_store_would_have_scored(tmp_path: Path) -> None:
    class Falters(NoFeatures):
        away = False

        async def read(self, user: str, *_: object) -> UserFeatures:
            if self.away:
                raise StoreUnavailable("away")
            return UserFeatures({"age": 33}, {"clicked": np.array([100, 101])}, {})

    store, cache = Falters(), NearCache(NearCacheOptions(limit_bytes=1 << 20))
    async with tiny(tmp_path, store, cache=cache) as world:  # type: ignore[arg-type]  # reads only
        first = await world.scorer.score(request())
        store.away = True
        second = await world.scorer.score(request())
        assert (first.degraded, second.degraded) == ("none", "near_cache")
        assert second.scores["click"].tobytes() == first.scores["click"].tobytes()
        stranger = await world.scorer.score(request(user_id="user-4"))
        assert stranger.degraded == "no_history"
        exposition = world.metrics.exposition(None)[0].decode()
        for step in ("none", "near_cache", "no_history"):
            assert f'taskgraft_degraded_total{{tier="{step}"}} 1.0' in exposition


async def test_a_stored_history_scores_as_the_same_history_sent(tmp_path: Path) -> None:
    layout = Layout(behaviours=("clicked", "liked"), item_id_type="int64", cap=5)
    store = open_embedded_store(tmp_path / "f.sqlite", layout, lambda reason: None)
    try:
        async with tiny(tmp_path / "tasks", store) as world:
            blank = await world.scores()
            events = [Event("user-3", 100 + n, "clicked", 1000 + n) for n in range(3)]
            await store.append(events)
            profile: Fields = {"age": 33, "hobbies": ["chess"], "odd": 1}
            await store.load([UserRecord("user-3", profile)])
            stored = await world.scores()
            sent = await world.scores(
                user_id="user-3",
                history={"clicked": [100, 101, 102]},
                user={"age": 33, "hobbies": ["chess"]},
            )
            assert stored["click"].tobytes() == sent["click"].tobytes()
            assert stored["click"].tobytes() != blank["click"].tobytes()
    finally:
        await store.close()


async def test_a_deadline_ends_the_run_itself(tmp_path: Path) -> None:
    """The only engine thread is free again, or closing the pool would wait for ever."""
    async with tiny(tmp_path / "tasks") as world:
        pool = EnginePool(1)
        model = replace(world.model, engine=Engine.open(endless_bundle(tmp_path)))
        world.registry.snapshot = replace(world.registry.snapshot, model=model)
        features = FeatureLadder(NoFeatures(), None)  # type: ignore[arg-type]  # reads only
        scorer = Scorer(world.registry, pool, features, world.metrics, LIMITS, Recent())
        for _ in range(2):
            with pytest.raises(DeadlineExceeded, match="50 ms"):
                await scorer.score(request(deadline_ms=50))
        assert await asyncio.to_thread(pool.executor.submit(int, 1).result) == 1
        pool.close()
