"""The real parts behind the routes: bundle, engine, stores, registry, scorer.

Settings, Metrics --open_parts--> Parts --start--> golden rows replayed, desired tasks restored
                      └──────────────────────┴--> ConfigError, CorruptBundle, CorruptStore, ...
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import structlog

from contract.bundle import Bundle, open_bundle
from contract.errors import CorruptBundle, PromptMisfit
from contract.schema import FeatureSchema
from service.app import Parts
from service.bank import PromptBank
from service.cores import cores_at_hand, engine_threads
from service.embedded_store import open_embedded_store
from service.encoder import Encoder
from service.engine import Cancellation, Engine, EnginePool
from service.errors import ConfigError, InvalidField
from service.features import FeatureStore, OnCorrupt, UserFeatures
from service.messages import ScoreRequest
from service.metrics import Metrics
from service.packing import Layout
from service.prover import PromptProver
from service.redis_store import RedisOptions, RedisStore
from service.redis_task_store import RedisTaskStore
from service.registry import TaskRegistry
from service.scoring import Limits, Model, Scorer
from service.settings import Settings
from service.sync import TaskFollower
from service.task_catalog import TaskCatalog
from service.task_directory import open_task_directory
from service.task_store import TaskStore

_FEATURES_FILE = "features.sqlite"
_log = structlog.get_logger()


def open_parts(settings: Settings, metrics: Metrics) -> Parts:
    """Open everything that one process serves with.

    Raises:
        ContractError: the bundle cannot be opened.
        ServiceError: a store cannot be opened, or a setting cannot work.
    """
    bundle = open_bundle(settings.bundle)
    manifest, schema = bundle.manifest, bundle.lookups.schema
    engine = Engine.open(bundle, settings.providers, settings.threads)
    metrics.use_provider(engine.provider)
    threads = settings.engine_threads or engine_threads(settings.workers, cores_at_hand())
    pool = EnginePool(threads)
    bank = PromptBank(manifest.prompt_tensors, limit=settings.max_prompts)
    model_id = f"{manifest.name}@{manifest.fingerprint[:12]}"
    model = Model(model_id, Encoder(bundle.lookups), engine, pool, bank)
    store = open_task_store(settings)
    features = open_feature_store(settings, schema, metrics.store_fault)
    prover = PromptProver(manifest, bank, engine, pool)
    registry = TaskRegistry(manifest, prover, store, metrics, settings.converge_s)
    follower = TaskFollower(registry, store, _log)
    limits = Limits(
        max_tasks_by_default=settings.max_tasks_by_default,
        default_deadline_s=settings.default_deadline_ms / 1000,
        max_deadline_s=settings.max_deadline_ms / 1000,
        item_overrides=settings.item_overrides,
    )

    async def start() -> None:
        replay_golden(bundle, model)
        try:
            await follower.start()
        except PromptMisfit as err:
            raise ConfigError(
                "the task store holds a prompt that this bundle cannot "
                f"serve ({err}); serve the bundle it was made for, or set another "
                "TASKGRAFT_TASK_STORE and graft prompts tuned on this one"
            ) from err
        metrics.serve_tasks(registry.snapshot.names, registry.snapshot.generation)

    async def stop() -> None:
        await follower.stop()
        pool.close()
        await features.close()

    scorer = Scorer(model, registry, features, metrics, limits)
    catalog = TaskCatalog(manifest, registry, store)
    return Parts(schema, scorer, catalog, registry, features, start, stop, registry.worker)


def open_feature_store(
    settings: Settings, schema: FeatureSchema, on_corrupt: OnCorrupt
) -> FeatureStore:
    """The feature store that the settings name."""
    layout = Layout.of(schema, settings.history_cap)
    scheme, _, place = settings.feature_store.partition(":")
    if scheme == "embedded":
        return open_embedded_store(Path(place) / _FEATURES_FILE, layout, on_corrupt)
    options = RedisOptions(
        read_budget_s=settings.feature_budget_ms / 1000, ttl_s=settings.history_ttl_s
    )
    return RedisStore(settings.feature_store, layout, on_corrupt, options)


def open_task_store(settings: Settings) -> TaskStore:
    """The task store that the settings name."""
    if settings.task_store.startswith(("redis:", "rediss:")):
        return RedisTaskStore(settings.task_store)
    return open_task_directory(Path(settings.task_store))


def replay_golden(bundle: Bundle, model: Model) -> None:
    """Score the bundle's golden requests through encoder and graphs; also the warm-up.

    Raises:
        CorruptBundle: a score is not the one PyTorch gave, or a request cannot be encoded.
    """
    nothing = UserFeatures(profile={}, histories={}, items={})
    tolerance = bundle.manifest.tolerance
    heads = [task.name for task in bundle.manifest.tasks]
    for number, golden in enumerate(bundle.golden):
        try:
            arrays = model.encoder.encode(ScoreRequest(**golden.request), nothing)
        except (TypeError, InvalidField) as err:
            raise CorruptBundle(f"golden request {number} cannot be encoded: {err}") from err
        scores = model.engine.run(arrays, heads, None, Cancellation()).heads
        for task in heads:
            want = np.asarray(golden.scores.get(task), dtype=np.float32)
            if want.shape != scores[task].shape:
                raise CorruptBundle(f"golden request {number} has no scores of task {task}")
            difference = float(np.abs(scores[task] - want).max())
            if not difference <= tolerance:
                raise CorruptBundle(
                    f"golden request {number}: task {task} scores {difference:.3g} away from "
                    f"PyTorch here, at most {tolerance:.0e} is accepted"
                )
