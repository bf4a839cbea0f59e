"""The committed tiny model, opened as the service opens it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from contract.bundle import Bundle, open_bundle
from service.drift_watch import DriftWatch
from service.engine import EnginePool
from service.feature_ladder import FeatureLadder
from service.features import Event, FeatureStore, UserFeatures
from service.messages import ScoreRequest
from service.metrics import Metrics
from service.model import Model, Running
from service.near_cache import NearCache
from service.prover import PromptProver
from service.registry import TaskRegistry
from service.scoring import Limits, Scorer
from service.snapshot import Snapshot
from service.task_catalog import TaskCatalog
from service.task_directory import open_task_directory
from service.task_store import TaskStore

FOLDER = Path(__file__).parents[1] / "golden" / "tiny"
BUNDLE = FOLDER / "bundle"
NOTHING = UserFeatures(profile={}, histories={}, items={})
LIMITS = Limits(
    max_tasks_by_default=8, default_deadline_s=10.0, max_deadline_s=20.0, item_overrides=False
)


def prompt_bytes(task: str) -> bytes:
    return (FOLDER / f"{task}.safetensors").read_bytes()


def on_another_backbone(snapshot: Snapshot) -> Snapshot:
    """The same world, as if its bundle held another backbone."""
    manifest = snapshot.model.manifest.model_copy(update={"fingerprint": "0" * 64})
    return replace(snapshot, model=replace(snapshot.model, manifest=manifest))


def request(**changes: object) -> ScoreRequest:
    fields: dict[str, object] = {"user_id": "user-3", "item_ids": [100, 101, 102], **changes}
    return ScoreRequest(**fields)  # type: ignore[arg-type]  # tests say what they mean


class NoFeatures:
    """A feature store that knows nobody."""

    async def read(self, user: str, items: object = ()) -> UserFeatures:
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
) -> AsyncIterator[Tiny]:
    """The tiny model over a task store folder, its desired tasks restored."""
    bundle = open_bundle(BUNDLE)
    pool, model = EnginePool(1), Model.open(bundle, Running(max_prompts=512))
    store, metrics = open_task_directory(tasks), Metrics()
    registry = TaskRegistry(model, PromptProver(pool), store, metrics)
    known: FeatureStore = features or NoFeatures()  # type: ignore[assignment]  # reads only
    scorer = Scorer(registry, pool, FeatureLadder(known, cache), metrics, limits)
    try:
        await registry.converge()
        watch = DriftWatch(registry, metrics, structlog.get_logger())
        catalog = TaskCatalog(registry, watch, store)
        yield Tiny(bundle, model, store, registry, watch, catalog, scorer, metrics)
    finally:
        pool.close()
