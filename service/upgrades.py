"""Another backbone for all workers at once, with the prompts that were tuned on it, or none of it.

    prompt files --put_prompt--> the task store
    fingerprint, prompts --upgrade--> proposed --> opened, proved, warmed in every worker
        --> confirmed --> each worker's one assignment --> BackboneReport
        ├--> BundleMissing, BundleUnfit, UncoveredTasks, PromptMisfit, InvalidField, TaskConflict
        └--> NotConverged: who cannot, and why; withdrawn; nothing scored with it anywhere
    rollback --> the same road back, to what the last upgrade left

No request names a path or an address: a bundle is named by its fingerprint, a prompt by its digest.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract.errors import ContractError, PromptMisfit
from contract.manifest import Manifest
from contract.prompt import read_prompt
from service.backbone import Upgrade, WantedBackbone
from service.backbone_changes import (
    confirm_upgrade,
    propose_return,
    propose_upgrade,
    withdraw_upgrade,
)
from service.bundle_shelf import BundleShelf, reference
from service.errors import (
    BundleUnfit,
    InvalidField,
    NotConverged,
    PromptMissing,
    StoreUnavailable,
    TaskConflict,
    UncoveredTasks,
)
from service.fleet import view
from service.registry import TaskRegistry
from service.rollout import Step
from service.signatures import Signers
from service.task_store import DesiredState, StoredPrompt, TaskStore

# Beyond its patience a proposer may need this long to withdraw; after that it is taken for dead.
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class BackboneReport:
    """What an upgrade or a rollback did.

    Attributes:
        tasks: the grafted tasks that score now, and their versions.
        ended: tasks that scored before and do no more.
    """

    fingerprint: str
    model: str
    previous: str
    generation: int
    tasks: Mapping[str, int]
    ended: Sequence[str]
    workers: Sequence[Mapping[str, str | int]]
    took_ms: float


class Upgrades:
    """Changes the backbone of all workers.

    Args:
        patience_s: how long a change waits for the workers to load it.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        shelf: BundleShelf,
        store: TaskStore,
        patience_s: float,
        signers: Signers | None = None,
    ) -> None:
        self._signers = signers or Signers()
        self._registry = registry
        self._shelf = shelf
        self._store = store
        self._patience_s = patience_s

    def backbone(self) -> dict[str, Any]:
        """What is live, what was left, and what is being made ready."""
        snapshot = self._registry.snapshot
        wanted = snapshot.wanted
        return {
            "fingerprint": snapshot.model.ref.fingerprint,
            "model": snapshot.model.id,
            "generation": snapshot.generation,
            "previous": None if wanted.left is None else wanted.left.bundle.fingerprint,
            "proposed": None if wanted.upgrade is None else wanted.upgrade.bundle.fingerprint,
        }

    async def put_prompt(self, sha256: str, body: bytes, signature: str = "") -> None:
        """Store a prompt file for an upgrade that names it within the hour.

        Raises:
            PromptMisfit: no prompt file, or another one than its digest says.
            TaskRejected: it is not signed as it must be.
        """
        await asyncio.to_thread(self._signers.check, body, signature)
        prompt = await asyncio.to_thread(read_prompt, body)
        if prompt.sha256 != sha256:
            raise PromptMisfit(
                "digest_mismatch",
                f"the body's sha256 is {prompt.sha256[:12]}, the path says {sha256[:12]}",
                found=prompt.sha256,
            )
        await asyncio.to_thread(self._store.put_prompt, body)

    async def upgrade(self, wanted: WantedBackbone, actor: str) -> BackboneReport:
        """Let a backbone and its prompts score everywhere, or leave everything as it was.

        Raises:
            BundleMissing: this host does not hold it.
            BundleUnfit: its manifest cannot be read.
            InvalidField: a prompt that was not uploaded.
            PromptMisfit: a prompt of another task or backbone.
            TaskRejected: a prompt that is not signed as it must be.
            UncoveredTasks: live tasks would end that were not to be dropped.
            TaskConflict: it is live already, or another change came first.
            NotConverged: a worker cannot serve it.
            StoreUnavailable: the store went away.
        """
        started = time.perf_counter()
        manifest = await asyncio.to_thread(self._manifest, wanted.fingerprint)
        live = self._registry.snapshot.model
        if reference(manifest) == live.ref:
            raise TaskConflict(f"backbone {live.ref} is live already; graft prompts on it by name")
        prompts = {
            task: await asyncio.to_thread(self._prompt, wanted, task, sha256)
            for task, sha256 in wanted.prompts.items()
        }
        upgrade = self._proposal(manifest, tuple(wanted.drop))
        served = {*upgrade.heads, *prompts, *upgrade.drop}
        if lost := [name for name in live.heads if name not in served]:
            raise UncoveredTasks(lost)
        return await self._carry_out(
            upgrade, lambda state: propose_upgrade(state, upgrade, prompts, actor), actor, started
        )

    async def rollback(self, actor: str) -> BackboneReport:
        """Back to the backbone before the last upgrade, with the versions that scored then.

        Raises:
            TaskConflict: nothing was left, or another change came first.
            BundleMissing, BundleUnfit: the bundle is gone from this host.
            NotConverged, StoreUnavailable: as upgrade.
        """
        started = time.perf_counter()
        left = self._registry.snapshot.wanted.left
        if left is None:
            raise TaskConflict("no backbone was live before this one; there is no way back")
        manifest = await asyncio.to_thread(self._manifest, left.bundle.fingerprint)
        upgrade = self._proposal(manifest, ())
        return await self._carry_out(
            upgrade, lambda state: propose_return(state, upgrade, actor), actor, started
        )

    # --- inside ---------------------------------------------------------------------------------

    async def _carry_out(
        self, upgrade: Upgrade, proposal: Step, actor: str, started: float
    ) -> BackboneReport:
        """Once begun, a caller who leaves stops nothing: no proposal is left half way."""
        before = self._registry.snapshot
        state = await asyncio.shield(self._run(upgrade, proposal, actor))
        workers = await self._registry.fleet.settle(state.generation)
        tasks = {name: t.active for name, t in state.tasks.items() if t.active is not None}
        served = {*upgrade.heads, *tasks}
        return BackboneReport(
            fingerprint=upgrade.bundle.fingerprint,
            model=self._registry.snapshot.model.id,
            previous=upgrade.origin.fingerprint,
            generation=state.generation,
            tasks=tasks,
            ended=[name for name in before.names if name not in served],
            workers=[view(worker) for worker in workers],
            took_ms=round((time.perf_counter() - started) * 1000, 3),
        )

    async def _run(self, upgrade: Upgrade, proposal: Step, actor: str) -> DesiredState:
        alive = {worker.worker for worker in await self._registry.fleet.workers()}

        def propose(state: DesiredState) -> DesiredState:
            rival = state.upgrade
            if rival is not None and rival.proposer not in alive:
                state = withdraw_upgrade(state, rival.key, "expiry", upgrade.at)
            return proposal(state)

        await self._registry.commit(propose)
        try:
            await self._registry.fleet.hold_backbone(upgrade.key, self._patience_s)
            return await self._registry.commit(
                lambda state: confirm_upgrade(state, upgrade.key, actor, time.time())
            )
        except (NotConverged, StoreUnavailable, TaskConflict, UncoveredTasks):
            await self._registry.commit(
                lambda state: withdraw_upgrade(state, upgrade.key, actor, time.time())
            )
            raise

    def _manifest(self, fingerprint: str) -> Manifest:
        try:
            return self._shelf.find(fingerprint)
        except ContractError as err:
            raise BundleUnfit(str(err)) from err

    def _prompt(self, wanted: WantedBackbone, task: str, sha256: str) -> StoredPrompt:
        """Raises InvalidField, TaskRejected, PromptMisfit.

        Not uploaded, not signed as it must be, or another task's or backbone's.
        """
        where, fingerprint = f"prompts.{task}", wanted.fingerprint
        signature = wanted.signatures.get(task, "")
        try:
            content = self._store.prompt(sha256)
        except PromptMissing as err:
            raise InvalidField(
                where, "no prompt of this digest is stored: PUT it to /v1/prompts/SHA256 first"
            ) from err
        signer = self._signers.check(content, signature)
        prompt = read_prompt(content)
        header = prompt.header
        if header.task != task:
            raise PromptMisfit(
                "wrong_task_name",
                f"{where} holds task {header.task}",
                found=header.task,
                expected=task,
            )
        if header.backbone != fingerprint:
            raise PromptMisfit(
                "wrong_backbone",
                f"{where} was tuned on backbone {header.backbone[:12]}, not on "
                f"{fingerprint[:12]}: tune it again on this one",
                found=header.backbone,
                expected=fingerprint,
            )
        return StoredPrompt.of(prompt, signature, signer)

    def _proposal(self, manifest: Manifest, drop: tuple[str, ...]) -> Upgrade:
        now = time.time()
        return Upgrade(
            key=secrets.token_hex(8),
            proposer=self._registry.worker,
            bundle=reference(manifest),
            origin=self._registry.snapshot.model.ref,
            heads=tuple(task.name for task in manifest.tasks),
            drop=drop,
            at=now,
            until=now + self._patience_s + _GRACE_S,
        )
