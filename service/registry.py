"""The live tasks of one process, and the whole idea: grafting as one assignment.

    prompt file --graft--> proved, in a slot nothing names --> desired state --> Snapshot published
                   └--> PromptMisfit, TaskConflict, TooLarge, StoreUnavailable: nothing changed
    task store --converge--> the same, for what another process or an earlier life has grafted

The desired state in the task store is the truth; a snapshot is how far this process followed it. A
graft commits the desired state before it publishes: what was acknowledged survives a kill.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from contract.errors import PromptMisfit
from contract.manifest import Manifest
from service.errors import TaskConflict, TaskRejected, UnknownTask
from service.metrics import Metrics
from service.named_locks import NamedLocks
from service.prover import Checks, PromptProver
from service.snapshot import Resident, Snapshot
from service.task_changes import activate, graft, remove
from service.task_store import DesiredState, StoredPrompt, TaskState, TaskStore, TaskVersion


@dataclass(frozen=True, slots=True)
class GraftReport:
    """What a change did.

    Attributes:
        version: the one that was made or activated; None after a removal.
        created: whether the task is new.
        checks: each check that was passed, with its figure.
    """

    name: str
    version: int | None
    generation: int
    workers: Sequence[Mapping[str, str | int]]
    checks: Checks
    took_ms: float
    created: bool = False


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task as GET /v1/tasks shows it.

    Attributes:
        version: the one that scores, 0 for a head, None if none does.
        parameters: a prompt's trained ones, a head's own.
    """

    name: str
    kind: Literal["head", "prompt"]
    version: int | None
    versions: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]
    parameters: int
    provenance: Mapping[str, Any] = field(default_factory=dict)


class TaskRegistry:
    """Publishes snapshots. Readers take `snapshot` and no lock."""

    def __init__(
        self, manifest: Manifest, prover: PromptProver, store: TaskStore, metrics: Metrics
    ) -> None:
        self._manifest = manifest
        self._heads = [task.name for task in manifest.tasks]
        self._prover = prover
        self._store = store
        self._metrics = metrics
        self._names = NamedLocks()
        self._publishing = asyncio.Lock()
        self._aside: dict[str, Resident] = {}  # by digest: proved, not yet published
        self.snapshot = Snapshot.of(self._heads, {}, DesiredState())
        self.state = "serving"  # or why this process is behind the desired state

    # --- following the desired state ---------------------------------------------------------

    async def converge(self, wanted: DesiredState | None = None) -> Snapshot:
        """Publish the desired state, loading what this process does not hold yet.

        Raises:
            PromptMisfit: a stored prompt does not fit this bundle; the old snapshot stays.
            StoreUnavailable, CorruptStore: the task store cannot be read.
        """
        async with self._publishing:
            state = wanted
            if state is None:
                state = await asyncio.to_thread(self._store.read)
            if state.generation > self.snapshot.generation:
                residents = {}
                for name, task in state.tasks.items():
                    version = None if task.active is None else task.find(task.active)
                    if version is not None:
                        residents[name] = await self._resident(name, version)
                self.snapshot = Snapshot.of(self._heads, residents, state)
                self._metrics.serve_tasks(self.snapshot.names, state.generation)
            return self.snapshot

    async def _resident(self, name: str, version: TaskVersion) -> Resident:
        """The prompt of a version: the live one, one set aside, or loaded and proved."""
        live = self.snapshot.prompts.get(name)
        if live is not None and (live.sha256, live.version) == (version.sha256, version.version):
            return live
        found = self._aside.get(version.sha256)
        if found is None:
            content = await asyncio.to_thread(self._store.prompt, version.sha256)
            found, _ = await self._prover.prove(name, content)
        return replace(found, version=version.version)

    # --- changing it ---------------------------------------------------------------------------

    async def graft(self, name: str, body: bytes, *, activate: bool, actor: str) -> GraftReport:
        """Make a prompt servable, or leave everything as it was.

        Args:
            name: of the task; the file must say the same.
            body: the prompt file.
            activate: whether it scores at once, or waits as a version to be activated.
            actor: who asks, for the history.

        Raises:
            PromptMisfit: the file is damaged or does not fit, or its golden rows disagree.
            TaskRejected: its golden rows take too long.
            TaskConflict: the name belongs to a pre-trained head.
            TooLarge: no slot is left.
            StoreUnavailable: the desired state could not be committed.
        """
        started = time.perf_counter()
        self._refuse_head(name)
        try:
            async with self._names.hold(name):
                resident, checks = await self._prover.prove(name, body)
                live = self.snapshot.prompts.get(name)
                if activate and live is not None and live.sha256 == resident.sha256:
                    return self._report(name, live.version, checks, started)
                state = await self._commit_prompt(resident, body, actor, activate=activate)
        except (PromptMisfit, TaskRejected) as err:
            self._metrics.refused(err.reason)
            raise
        self._metrics.grafted(time.perf_counter() - started)
        versions = state.task(name).versions
        report = self._report(name, versions[-1].version, checks, started)
        return replace(report, created=len(versions) == 1)

    async def _commit_prompt(
        self, resident: Resident, body: bytes, actor: str, *, activate: bool
    ) -> DesiredState:
        name = resident.header.task
        await asyncio.to_thread(self._store.put_prompt, body)
        stored = StoredPrompt(
            resident.sha256, resident.size_bytes, time.time(), resident.header.provenance
        )
        self._aside[resident.sha256] = resident
        try:
            return await self._commit(
                lambda state: graft(state, name, stored, actor, active=activate)
            )
        finally:
            self._aside.pop(resident.sha256, None)

    async def rollback(self, name: str, version: int | None, *, actor: str) -> GraftReport:
        """Let an earlier version score again: the one named, or the next older one.

        Raises:
            UnknownTask: no such grafted task.
            TaskConflict: no such version, nothing older, or a pre-trained head.
        """
        started = time.perf_counter()
        self._refuse_head(name)

        def change(state: DesiredState) -> DesiredState:
            wanted = _older(name, state.task(name)) if version is None else version
            return activate(state, name, wanted, actor, time.time())

        async with self._names.hold(name):
            state = await self._commit(change)
        return self._report(name, state.task(name).active, {}, started)

    async def remove(self, name: str, *, actor: str) -> GraftReport:
        """Take a grafted task away; requests in flight still answer.

        Raises:
            UnknownTask: no such grafted task.
            TaskConflict: it is a pre-trained head.
        """
        started = time.perf_counter()
        self._refuse_head(name)
        async with self._names.hold(name):
            await self._commit(lambda state: remove(state, name, actor, time.time()))
        return self._report(name, None, {}, started)

    async def _commit(self, change: Callable[[DesiredState], DesiredState]) -> DesiredState:
        """Commit, then publish: once committed, a caller who leaves stops nothing."""
        state = await asyncio.to_thread(self._store.update, change)
        await asyncio.shield(self.converge(state))
        return state

    def _refuse_head(self, name: str) -> None:
        if name in self._heads:
            raise TaskConflict(f"{name} is a pre-trained task of this bundle; it cannot be changed")

    # --- telling -------------------------------------------------------------------------------

    def tasks(self) -> list[TaskInfo]:
        """Heads, then grafted tasks, those without an active version included."""
        return [self.task(name) for name in (*self._heads, *self.snapshot.wanted.tasks)]

    def task(self, name: str) -> TaskInfo:
        """One task, or UnknownTask."""
        for head in self._manifest.tasks:
            if head.name == name:
                provenance = self._manifest.provenance
                return TaskInfo(name, "head", 0, (), head.metrics, head.parameters, provenance)
        wanted = self.snapshot.wanted.task(name)
        versions = [asdict(version) for version in wanted.versions]
        live = self.snapshot.prompts.get(name)
        if live is None:
            return TaskInfo(name, "prompt", None, versions, {}, 0)
        header = live.header
        return TaskInfo(
            name,
            "prompt",
            live.version,
            versions,
            header.metrics,
            header.trained_parameters,
            header.provenance,
        )

    async def history(self, name: str) -> list[dict[str, Any]]:
        """What happened to a grafted task, oldest first, also after its removal.

        Raises:
            UnknownTask: never grafted.
        """
        changes = [change for change in await self.audit() if change["task"] == name]
        if not changes:
            raise UnknownTask([name])
        return changes

    async def audit(self) -> list[dict[str, Any]]:
        """All changes ever committed, oldest first."""
        return [asdict(change) for change in await asyncio.to_thread(self._store.history)]

    def workers(self) -> list[dict[str, str | int]]:
        """This process; others are known by their own acknowledgements."""
        return [
            {
                "id": f"{socket.gethostname()}-{os.getpid()}",
                "state": self.state,
                "generation": self.snapshot.generation,
            }
        ]

    def _report(
        self, name: str, version: int | None, checks: Checks, started: float
    ) -> GraftReport:
        took_ms = round((time.perf_counter() - started) * 1000, 3)
        generation = self.snapshot.generation
        return GraftReport(name, version, generation, self.workers(), checks, took_ms)


def _older(name: str, task: TaskState) -> int:
    older = [v.version for v in task.versions if task.active is None or v.version < task.active]
    if not older:
        raise TaskConflict(f"task {name} has no version older than {task.active}")
    return older[-1]
