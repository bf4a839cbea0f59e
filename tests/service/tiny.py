"""The committed tiny model, opened as the service opens it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from contract.bundle import Bundle, open_bundle
from service.bundle_shelf import BundleShelf
from service.drift_watch import DriftWatch
from service.engine_pool import EnginePool
from service.feature_ladder import FeatureLadder
from service.features import Event, FeatureStore, UserFeatures
from service.messages import ScoreRequest
from service.metrics import Metrics
from service.model import Model, Running
from service.model_room import ModelRoom, Opening
from service.near_cache import NearCache
from service.prover import PromptProver
from service.registry import TaskRegistry
from service.scoring import Limits, Scorer
from service.task_catalog import TaskCatalog
from service.task_directory import open_task_directory
from service.task_store import TaskStore
from service.upgrades import Upgrades

FOLDER = Path(__file__).parents[1] / "golden" / "tiny"
BUNDLE = FOLDER / "bundle"
RETRAINED = FOLDER.parent / "tiny_retrained" / "bundle"
WIDE = FOLDER.parent / "wide" / "bundle"
DTRN = FOLDER.parent / "dtrn" / "bundle"
NOTHING = UserFeatures(profile={}, histories={}, items={})
LIMITS = Limits(
    max_tasks_by_default=8, default_deadline_s=10.0, max_deadline_s=20.0, item_overrides=False
)


def retrained_prompt(task: str) -> bytes:
    return (RETRAINED.parent / f"{task}.safetensors").read_bytes()


def prompt_bytes(task: str, bundle: Path = BUNDLE) -> bytes:
    return (bundle.parent / f"{task}.safetensors").read_bytes()


@contextmanager
def another_backbone(world: Tiny) -> Iterator[None]:
    """For a while the world's bundle seems to hold another backbone."""
    models, ref = world.registry._room._models, world.model.ref
    manifest = world.model.manifest.model_copy(update={"fingerprint": "0" * 64})
    models[ref] = replace(world.model, manifest=manifest)
    yield
    models[ref] = world.model


def request(**changes: object) -> ScoreRequest:
    fields: dict[str, object] = {"user_id": "user-3", "item_ids": [100, 101, 102], **changes}
    return ScoreRequest(**fields)  # type: ignore[arg-type]  # tests say what they mean


class NoFeatures:
    """A feature store that knows nobody."""

    async def read(self, user: str, *_: object) -> UserFeatures:
        return NOTHING

    async def append(self, events: list[Event]) -> None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Tiny:
    """All of a process but its ports."""

    bundle: Bundle
    model: Model
    store: TaskStore
    registry: TaskRegistry
    watch: DriftWatch
    catalog: TaskCatalog
    upgrades: Upgrades
    scorer: Scorer
    metrics: Metrics

    async def scores(self, **changes: object) -> dict[str, NDArray[np.float32]]:
        return (await self.scorer.score(request(**changes))).scores


@asynccontextmanager
async def tiny(
    tasks: Path,
    features: FeatureStore | None = None,
    limits: Limits = LIMITS,
    cache: NearCache | None = None,
    bundles: Path | None = None,
    bundle: Path = BUNDLE,
) -> AsyncIterator[Tiny]:
    """The tiny model over a task store folder, its desired tasks restored."""
    opened = open_bundle(bundle)
    pool, model = EnginePool(1), Model.open(opened, Running(max_prompts=512))
    store, metrics = open_task_directory(tasks), Metrics()
    opening = Opening(BundleShelf(bundle, bundles), Running(max_prompts=512), EnginePool(1))
    room = ModelRoom(model, opened.lookups.schema, store, opening)
    registry = TaskRegistry(room, PromptProver(), store, metrics)
    known: FeatureStore = features or NoFeatures()  # type: ignore[assignment]  # reads only
    scorer = Scorer(registry, pool, FeatureLadder(known, cache), metrics, limits, opening.recent)
    try:
        await registry.converge()
        watch = DriftWatch(registry, metrics, structlog.get_logger())
        catalog = TaskCatalog(registry, watch, store)
        upgrades = Upgrades(registry, opening.shelf, store, 20.0)
        yield Tiny(opened, model, store, registry, watch, catalog, upgrades, scorer, metrics)
    finally:
        await room.close()
        pool.close()
