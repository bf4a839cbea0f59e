"""The real parts behind the routes: bundle, engine, stores, registry, scorer.

Settings, Metrics --open_parts--> Parts --start--> golden rows replayed, desired tasks restored
                      └──────────────────────┴--> ConfigError, CorruptBundle, CorruptStore, ...
"""

from __future__ import annotations

from pathlib import Path

import structlog

from contract.bundle import Bundle, open_bundle
from contract.errors import PromptMisfit
from contract.schema import FeatureSchema
from service.app import Parts
from service.bundle_shelf import BundleShelf
from service.cores import cores_at_hand, engine_threads
from service.drift_watch import DriftWatch
from service.embedded_store import EmbeddedOptions, EmbeddedStore, open_embedded_store
from service.encoder import encoded_bytes
from service.engine import PROVIDERS
from service.engine_pool import EnginePool
from service.errors import ConfigError
from service.feature_ladder import FeatureLadder
from service.features import FeatureStore, OnCorrupt
from service.metrics import Metrics
from service.model import Model, Running, replay_golden
from service.model_room import ModelRoom, Opening
from service.near_cache import NearCache, NearCacheOptions
from service.packing import Layout
from service.proofs import Proofs
from service.prover import PromptProver
from service.redis_store import RedisOptions, RedisStore
from service.redis_task_store import RedisTaskStore
from service.registry import TaskRegistry
from service.scoring import Limits, Scorer
from service.settings import Settings
from service.signatures import Signers
from service.sync import TaskFollower
from service.task_catalog import TaskCatalog
from service.task_directory import open_task_directory
from service.task_store import TaskStore
from service.threads import ASIDE_NICE
from service.upgrades import Upgrades

_FEATURES_FILE = "features.sqlite"
_CONNECT_S = 1.0  # a feature store that is away holds up the start no longer
_log = structlog.get_logger()


def open_parts(
    settings: Settings,
    metrics: Metrics,
    checked: Bundle | None = None,
    proofs: Proofs | None = None,
) -> Parts:
    """Open everything that one process serves with.

    Args:
        settings: all of them.
        metrics: this process's figures.
        checked: the bundle of the settings, if it has just been opened.
        proofs: shared with the other workers, if there are any.

    Raises:
        ContractError: the bundle cannot be opened.
        ServiceError: a store cannot be opened, or a setting cannot work.
    """
    bundle = checked or open_bundle(settings.bundle)
    schema = bundle.lookups.schema
    running = Running(settings.providers, settings.threads, settings.max_prompts, settings.exact)
    model = Model.open(bundle, running)
    _tell_provider(model.engine.provider, settings, metrics)
    pool = EnginePool(settings.engine_threads or engine_threads(settings.workers, cores_at_hand()))
    store = open_task_store(settings)
    features = open_ladder(settings, schema, metrics.store_fault)
    signers = Signers(settings.trusted_keys, settings.require_signature)
    prover = PromptProver(signers, proofs)
    opening = _opening(settings, schema, running, prover)
    room = ModelRoom(model, schema, store, opening)
    registry = TaskRegistry(room, prover, store, metrics, settings.converge_s)
    follower = TaskFollower(registry, store, _log)
    watch = DriftWatch(registry, metrics, _log)

    unproven = [(bundle, model)]  # taken out: a function that lives on would hold the model

    async def start() -> None:
        replay_golden(*unproven.pop())
        await features.connect(_CONNECT_S)
        await _catch_up(follower)
        prover.take_turns()
        metrics.serve_tasks(registry.snapshot.names, registry.snapshot.generation)
        watch.start()

    async def stop() -> None:
        await watch.stop()
        await follower.stop()
        await room.close()
        pool.close()
        await features.close()

    scorer = Scorer(registry, pool, features, metrics, _limits(settings), opening.recent)
    catalog = TaskCatalog(registry, watch, store)
    upgrades = Upgrades(registry, opening.shelf, store, settings.upgrade_s, signers)
    return Parts(
        schema, scorer, catalog, registry, upgrades, features, start, stop,
        worker=registry.worker, quick=scorer if pool.runs_in_place else None,
    )  # fmt: skip


def _opening(
    settings: Settings, schema: FeatureSchema, running: Running, prover: PromptProver
) -> Opening:
    return Opening(
        shelf=BundleShelf(settings.bundle, settings.bundles),
        running=running,
        pool=EnginePool(1, nice=ASIDE_NICE),
        kept_events=Layout.of(schema, settings.history_cap).cap,
        keep_s=settings.rollback_ready_s,
        prover=prover,
    )


def _tell_provider(provider: str, settings: Settings, metrics: Metrics) -> None:
    metrics.use_provider(provider)
    if provider != PROVIDERS[settings.providers[0]]:
        _log.warning("provider_fallback", wanted=settings.providers[0], using=provider)


async def _catch_up(follower: TaskFollower) -> None:
    try:
        await follower.start()
    except PromptMisfit as err:
        raise ConfigError(
            f"the task store holds a prompt that this bundle cannot serve ({err}); serve the "
            "bundle it was made for, or set another TASKGRAFT_TASK_STORE and graft prompts tuned "
            "on this one"
        ) from err


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_tasks_by_default=settings.max_tasks_by_default,
        default_deadline_s=settings.default_deadline_ms / 1000,
        max_deadline_s=settings.max_deadline_ms / 1000,
        item_overrides=settings.item_overrides,
    )


def open_ladder(settings: Settings, schema: FeatureSchema, on_corrupt: OnCorrupt) -> FeatureLadder:
    """The feature store, and copies of what it said."""
    store = open_feature_store(settings, schema, on_corrupt)
    budget_s = settings.feature_budget_ms / 1000
    options = NearCacheOptions(
        limit_bytes=settings.near_cache_bytes,
        near_s=settings.near_cache_s,
        stale_s=max(settings.stale_s, settings.near_cache_s),
        longest_read_s=budget_s,
    )
    copies = NearCache(options, encoded_bytes=encoded_bytes(schema))
    now = store.read_now if isinstance(store, EmbeddedStore) else None
    return FeatureLadder(store, copies, budget_s, settings.feature_lag_ms / 1000, now)


def open_feature_store(
    settings: Settings, schema: FeatureSchema, on_corrupt: OnCorrupt
) -> FeatureStore:
    """The feature store that the settings name."""
    layout = Layout.of(schema, settings.history_cap)
    scheme, _, place = settings.feature_store.partition(":")
    read_s, write_s = settings.feature_budget_ms / 1000, settings.default_deadline_ms / 1000
    if scheme == "embedded":
        waits = EmbeddedOptions(read_s, write_s)
        return open_embedded_store(Path(place) / _FEATURES_FILE, layout, on_corrupt, waits)
    options = RedisOptions(read_s, write_s, ttl_s=settings.history_ttl_s)
    return RedisStore(settings.feature_store, layout, on_corrupt, options)


def open_task_store(settings: Settings) -> TaskStore:
    """The task store that the settings name."""
    if "://" in settings.task_store:
        return RedisTaskStore(settings.task_store)
    return open_task_directory(Path(settings.task_store))
