"""The live tasks of one process, and the whole idea: grafting as one assignment.

    prompt file --graft--> proved, in a slot nothing names --> desired state --> Snapshot published
                   └--> PromptMisfit, TaskConflict, TooLarge, StoreUnavailable, NotConverged:
                        nothing changed
    task store --converge--> the same, for what another process or an earlier life has grafted

The desired state in the task store is the truth; a snapshot is how far this process followed it. A
graft commits the desired state before it publishes: what was acknowledged survives a kill. With
other workers alive it goes through rollout.py, so that it scores everywhere or nowhere.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from contract.errors import PromptMisfit
from service.backbone_changes import void_upgrade
from service.drift import Drift
from service.errors import (
    CorruptStore,
    TaskConflict,
    TaskRejected,
)
from service.fleet import Fleet, view
from service.graft_report import GraftReport
from service.metrics import Metrics
from service.model import Model
from service.model_room import ModelRoom
from service.named_locks import NamedLocks
from service.prompt_loader import PromptLoader
from service.prover import Checks, PromptProver
from service.resident import Resident
from service.rollout import Rollout, Step, Switch, Wait
from service.routing import Wanted
from service.snapshot import Snapshot
from service.task_changes import (
    activate,
    expire,
    graft,
    propose,
    propose_graft,
    propose_route,
    remove,
    route,
)
from service.task_store import (
    Acknowledgement,
    DesiredState,
    StoredPrompt,
    TaskStore,
    WorkerState,
)


class TaskRegistry:
    """Publishes snapshots. Readers take `snapshot` and no lock.

    Args:
        patience_s: how long a change waits for the other workers.
    """

    def __init__(
        self,
        room: ModelRoom,
        prover: PromptProver,
        store: TaskStore,
        metrics: Metrics,
        patience_s: float = 5.0,
    ) -> None:
        self._room = room
        self._prover = prover
        self._store = store
        self._metrics = metrics
        self._names = NamedLocks()
        self._converging = asyncio.Lock()  # from holding a model until it is live
        self._publishing = threading.Lock()  # one generation after another
        self._loader = PromptLoader(prover, store, room)
        self.snapshot = Snapshot.of(room.first, {}, DesiredState())
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self.behind = ""  # why this process does not follow the desired state; empty if it does
        self.drift = Drift()
        self.fleet = Fleet(store, self.acknowledgement, self.drift.tallies, patience_s)
        self._rollout = Rollout(self.commit, self.fleet)

    # --- following the desired state ---------------------------------------------------------

    async def converge(self, wanted: DesiredState | None = None) -> Snapshot:
        """Publish the desired state, loading what this process does not hold yet.

        Raises:
            PromptMisfit: a stored prompt does not fit its bundle; the old snapshot stays.
            BundleMissing, BundleUnfit, ContractError: the wanted backbone cannot be served here.
            StoreUnavailable, CorruptStore: the task store cannot be read.
        """
        async with self._converging:
            state = wanted
            if state is None:
                state = await asyncio.to_thread(self._store.read)
            if state.generation > self.snapshot.generation:
                model = await self._room.hold(state.bundle)
                await asyncio.to_thread(self._publish, model, state)
            self.tidy()
            return self.snapshot

    def follow(self, state: DesiredState) -> bool:
        """Publish a desired state, in any thread; False if converge must, for its model is another.

        Raises:
            PromptMisfit, StoreUnavailable, CorruptStore: as converge.
        """
        live = self.snapshot
        if state.generation > live.generation:
            model = self._room.staying(state, live.model)
            if model is None:
                return False
            self._publish(model, state)
        return True

    def _publish(self, model: Model, state: DesiredState) -> None:
        """Load and prove what is not held yet, then the one assignment. Blocks."""
        with self._publishing:
            live = self.snapshot
            if state.generation > live.generation:
                held = self._loader.held(model, live, state)
                self._loader.candidates(model, live, state)
                self.snapshot = Snapshot.of(model, held, state)
                self._metrics.serve_tasks(self.snapshot.names, state.generation)

    # --- changing it ---------------------------------------------------------------------------

    async def graft(
        self,
        name: str,
        body: bytes,
        *,
        activate: bool,
        actor: str,
        wait: Wait = "all",
        signature: str = "",
    ) -> GraftReport:
        """Make a prompt servable, or leave everything as it was.

        Args:
            name: of the task; the file must say the same.
            body: the prompt file.
            activate: whether it scores at once, or waits as a version to be activated.
            actor: who asks, for the history.
            wait: for every worker alive, or for this one alone.
            signature: of the file, if it has one.

        Raises:
            PromptMisfit: the file is damaged or does not fit, or its golden rows disagree.
            TaskRejected: it is not signed as it must be, or its golden rows take too long.
            TaskConflict: the name belongs to a pre-trained head.
            TooLarge: no slot is left.
            StoreUnavailable: the desired state could not be committed.
            NotConverged: another worker cannot serve it.
        """
        started = time.perf_counter()
        self._refuse_head(name)
        try:
            async with self._names.hold(name):
                model = self.snapshot.model
                resident, checks = await self._prover.prove(model, name, body, signature)
                live = self.snapshot.prompts.get(name)
                if activate and live is not None and _same(live, resident):
                    return await self._report(name, live.version, checks, started, wait)
                stored = StoredPrompt.of(resident, signature, resident.signer)
                switch = Switch(
                    name,
                    actor,
                    at_once=lambda state: graft(state, name, stored, actor, active=activate),
                    proposal=lambda state: propose_graft(state, name, stored, actor),
                    first=lambda: self._store.put_prompt(body),
                )
                with self._loader.aside(resident):
                    state = await self._run(switch, wait if activate else "local")
        except (PromptMisfit, TaskRejected) as err:
            self._metrics.refused(err.reason)
            raise
        self._metrics.grafted(time.perf_counter() - started)
        versions = state.task(name).versions
        report = await self._report(name, versions[-1].version, checks, started, wait)
        return replace(report, created=len(versions) == 1)

    async def rollback(
        self, name: str, version: int | None, *, actor: str, wait: Wait = "all"
    ) -> GraftReport:
        """Let an earlier version score for everybody again.

        That is the one named, or the stable one while a canary is out, or else the next older.

        Raises:
            UnknownTask: no such grafted task.
            TaskConflict: no such version, nothing older, or a pre-trained head.
            NotConverged: another worker cannot serve it.
        """
        started = time.perf_counter()
        self._refuse_head(name)

        def wanted(state: DesiredState) -> int:
            return _earlier(name, state) if version is None else version

        switch = Switch(
            name,
            actor,
            at_once=lambda state: activate(state, name, wanted(state), actor, time.time()),
            proposal=lambda state: propose(state, name, wanted(state), actor, time.time()),
        )
        async with self._names.hold(name):
            state = await self._run(switch, wait)
        return await self._report(name, state.task(name).active, {}, started, wait)

    async def route(
        self, name: str, wanted: Wanted, *, actor: str, wait: Wait = "all"
    ) -> GraftReport:
        """Choose the stable version, and which others see traffic beside it.

        Raises:
            UnknownTask: no such grafted task.
            TaskConflict: no such version, or a pre-trained head.
            InvalidField: a routing that contradicts itself.
            NotConverged: another worker cannot serve one of the versions.
        """
        started = time.perf_counter()
        self._refuse_head(name)
        switch = Switch(
            name,
            actor,
            at_once=lambda state: route(state, wanted, name, actor, time.time()),
            proposal=lambda state: propose_route(state, wanted, name, actor, time.time()),
        )
        async with self._names.hold(name):
            state = await self._run(switch, wait)
        task = state.task(name)
        report = await self._report(name, task.active, {}, started, wait)
        return replace(report, routing=task.routing)

    async def remove(self, name: str, *, actor: str) -> GraftReport:
        """Take a grafted task away; requests in flight still answer.

        Raises:
            UnknownTask: no such grafted task.
            TaskConflict: it is a pre-trained head.
        """
        started = time.perf_counter()
        self._refuse_head(name)
        async with self._names.hold(name):
            await self.commit(lambda state: remove(state, name, actor, time.time()))
        return await self._report(name, None, {}, started, "all")

    async def _run(self, switch: Switch, wait: Wait) -> DesiredState:
        """Once begun, a caller who leaves stops nothing: no candidate is left half way."""
        return await asyncio.shield(self._rollout.run(switch, wait))

    async def commit(self, change: Step, first: Callable[[], object] | None = None) -> DesiredState:
        """Commit, then publish: once committed, a caller who leaves stops nothing."""
        served = self.snapshot.generation
        gone_by = time.time() - 4 * self.fleet.patience_s

        def step(state: DesiredState) -> DesiredState:
            self.refuse_older(state.generation, served)
            return change(void_upgrade(expire(state, gone_by), time.time()))

        def committed() -> tuple[DesiredState, bool]:
            if first is not None:
                first()
            state = self._store.update(step)
            return state, self.follow(state)

        state, followed = await asyncio.to_thread(committed)
        if not followed:
            await asyncio.shield(self.converge(state))
        return state

    def refuse_older(self, found: int, served: int) -> None:
        """Raises CorruptStore for a store that forgot what is served here."""
        if found < served:
            raise CorruptStore(
                f"the task store went back from generation {served} to {found}: it was emptied, or "
                "an older copy was restored; bring its data back, or restart the service to take "
                "it as it is"
            )

    def _refuse_head(self, name: str) -> None:
        if name in self.snapshot.model.heads:
            raise TaskConflict(f"{name} is a pre-trained task of this bundle; it cannot be changed")

    # --- telling -------------------------------------------------------------------------------

    def acknowledgement(self) -> Acknowledgement:
        """How far this process has come."""
        state: WorkerState = "behind" if self.behind else "serving"
        generation = self.snapshot.generation
        key, unprepared = self._room.told()
        return Acknowledgement(
            self.worker,
            generation,
            state,
            self.behind,
            self._loader.refused,
            upgrade=key,
            unprepared=unprepared,
        )

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to tidy. From any thread."""
        return self._room.at_rest

    def tidy(self) -> None:
        """Make ready what is proposed, let go of what was left long enough ago."""
        self._room.follow(self.snapshot.wanted, self.snapshot.model)

    async def _report(
        self, name: str, version: int | None, checks: Checks, started: float, wait: Wait
    ) -> GraftReport:
        generation = self.snapshot.generation
        known = await (self.fleet.known() if wait == "local" else self.fleet.settle(generation))
        took_ms = round((time.perf_counter() - started) * 1000, 3)
        workers = [view(worker) for worker in known]
        return GraftReport(name, version, generation, workers, checks, took_ms)


def _same(live: Resident, other: Resident) -> bool:
    """Whether nothing would change. Another signer does: the old key may go after that."""
    return (live.sha256, live.signer) == (other.sha256, other.signer)


def _earlier(name: str, state: DesiredState) -> int:
    task = state.task(name)
    if task.active is not None and task.routing.canary is not None:
        return task.active
    fitting = [v.version for v in task.versions if state.takes(v.backbone)]
    older = [version for version in fitting if task.active is None or version < task.active]
    if not older:
        raise TaskConflict(f"task {name} has no version older than {task.active}")
    return older[-1]
