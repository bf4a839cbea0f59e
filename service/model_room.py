"""The models of one process: the live one, the one made ready beside it, the one just left.

    Upgrade --follow--> opened, proved and warmed in a thread of low priority --> ready | why not
    BundleRef --hold--> Model: a ready one, the one just left, or opened now
                 └--> BundleMissing, BundleUnfit, ContractError

Nothing here is published: that is TaskRegistry.converge's one assignment. Event loop only, but for
what says otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog

from contract.errors import ContractError
from contract.schema import FeatureSchema
from service.backbone import BundleRef, Upgrade
from service.bundle_shelf import BundleShelf
from service.engine_pool import EnginePool
from service.errors import ServiceError
from service.interface import refuse_other_interface
from service.model import Model, Running, replay_golden
from service.prover import PromptProver
from service.resident import Resident
from service.task_store import DesiredState, TaskStore
from service.warm_up import Recent, warm_up

Result = TypeVar("Result")
Ready = dict[str, Resident]  # by digest
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Opening:
    """What models are opened with.

    Attributes:
        pool: one thread of low priority, so that requests go first.
        kept_events: of each user and behaviour, in the feature store.
        keep_s: how long the backbone just left stays in memory, for a way back without loading.
        prover: of the prompts that come with a backbone.
    """

    shelf: BundleShelf
    running: Running
    pool: EnginePool
    recent: Recent = field(default_factory=Recent)
    kept_events: int = 4096
    keep_s: float = 600.0
    prover: PromptProver = field(default_factory=PromptProver)


class ModelRoom:
    """Opens models aside, and lets them go.

    Args:
        first: the model of the bundle that the service was started with.
    """

    def __init__(
        self, first: Model, schema: FeatureSchema, store: TaskStore, opening: Opening
    ) -> None:
        self._given = first.ref
        self._schema = schema
        self._store = store
        self._with = opening
        self._models = {first.ref: first}
        self._opening = asyncio.Lock()
        # The key of the proposal and its work, replaced as one: other threads read them, too.
        self._followed: tuple[str, asyncio.Task[Ready] | None] = "", None
        self._left: tuple[BundleRef, float] | None = None  # and when, on the monotonic clock

    @property
    def first(self) -> Model:
        """The one that the service was started with, until it is let go."""
        return self._models[self._given]

    @property
    def at_rest(self) -> bool:
        """Whether there is one model, and no other is being made ready. From any thread."""
        return len(self._models) == 1 and self._followed[1] is None

    def staying(self, state: DesiredState, live: Model) -> Model | None:
        """The live model, if a state wants no other now or next. From any thread."""
        ref = state.bundle or self._given
        stays = ref == live.ref and state.upgrade is None and self._followed[1] is None
        return self._models.get(ref) if stays else None

    async def hold(self, wanted: BundleRef | None) -> Model:
        """The model of a bundle, None being the one that the service was started with.

        Raises:
            BundleMissing: this host does not hold it.
            BundleUnfit: it cannot take over from the one before.
            ContractError: it is damaged, or does not score as it should.
        """
        ref = wanted or self._given
        async with self._opening:
            if ref not in self._models:
                since = time.perf_counter()
                self._models[ref] = await self._aside(partial(self._open, ref))
                took_ms = round((time.perf_counter() - since) * 1000)
                _log.info("bundle_opened", backbone=str(ref), took_ms=took_ms)
            return self._models[ref]

    def resident(self, sha256: str) -> Resident | None:
        """A prompt that was made ready with the proposed backbone. From any thread."""
        ready = self._ready()
        return None if ready is None else ready.get(sha256)

    def told(self) -> tuple[str, str]:
        """For the acknowledgement: the proposal that is ready or refused here, and why it is.

        From any thread.
        """
        key, work = self._followed
        if work is None or not work.done() or work.cancelled():
            return "", ""
        err = work.exception()
        if err is None:
            return key, ""
        known = isinstance(err, (ServiceError, ContractError))
        return key, str(err) if known else f"an internal error ({type(err).__name__})"

    def follow(self, state: DesiredState, live: Model) -> None:
        """Make ready what the state proposes and let go of what nothing needs any more."""
        upgrade = state.upgrade
        if upgrade is not None and upgrade.until < time.time():
            upgrade = None
        key = "" if upgrade is None else upgrade.key
        followed, before = self._followed
        if key != followed:
            if before is not None:
                before.cancel()
            work = None
            if upgrade is not None:
                work = asyncio.create_task(self._make_ready(upgrade, state))
                work.add_done_callback(_log_fault)
            self._followed = key, work
        self._let_go(state, upgrade, live)

    async def close(self) -> None:
        _, work = self._followed
        if work is not None:
            work.cancel()
            await asyncio.wait([work])
        self._with.pool.close()

    # --- inside ---------------------------------------------------------------------------------

    async def _make_ready(self, upgrade: Upgrade, state: DesiredState) -> Ready:
        model = await self.hold(upgrade.bundle)
        ready = {}
        for name, number in upgrade.active.items():
            version = state.task(name).find(number)
            if version is None:
                continue  # removed by the same state; confirm will say so
            ready[version.sha256] = await self._aside(
                partial(self._with.prover.prove_stored, model, name, version, self._store)
            )
        slots = [resident.slot for resident in ready.values()]
        await self._aside(partial(warm_up, model, slots, self._with.recent.all()))
        _log.info("backbone_ready", backbone=str(upgrade.bundle), prompts=len(ready))
        return ready

    def _open(self, ref: BundleRef) -> Model:
        bundle = self._with.shelf.open(ref)
        refuse_other_interface(self._schema, bundle.lookups.schema, self._with.kept_events)
        model = Model.open(bundle, self._with.running)
        replay_golden(bundle, model)
        return model

    async def _aside(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._with.pool.executor, work)

    def _ready(self) -> Ready | None:
        _, work = self._followed
        if work is None or not work.done() or work.cancelled() or work.exception() is not None:
            return None
        return work.result()

    def _let_go(self, state: DesiredState, upgrade: Upgrade | None, live: Model) -> None:
        needed = {live.ref} if upgrade is None else {live.ref, upgrade.bundle}
        if state.left is not None:
            if self._left is None or self._left[0] != state.left.bundle:
                self._left = state.left.bundle, time.monotonic()
            if time.monotonic() - self._left[1] < self._with.keep_s:
                needed.add(state.left.bundle)
        gone = [self._models.pop(ref) for ref in [*self._models] if ref not in needed]
        if gone:  # a session's memory is given back in the thread: it may take a while
            _log.info("backbone_released", backbones=[str(model.ref) for model in gone])
            self._with.pool.executor.submit(gone.clear)


def _log_fault(work: asyncio.Task[Ready]) -> None:
    if work.cancelled() or (err := work.exception()) is None:
        return
    if isinstance(err, (ServiceError, ContractError)):
        _log.warning("backbone_refused", reason=str(err))
    else:
        _log.error("backbone_failed", exc_info=err)
