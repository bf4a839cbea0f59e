"""The prompts a process holds: those that score, those that may score next.

desired state --held--> by task and version, each proved in the model's bank --> Snapshot
--candidates--> ready by digest, or why not
└--> PromptMisfit, TaskRejected, TooLarge, PromptMissing, CorruptStore
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from contract.errors import PromptMisfit
from service.errors import CorruptStore, PromptMissing, TaskRejected, TooLarge
from service.model import Model
from service.model_room import ModelRoom
from service.prover import PromptProver
from service.resident import Resident
from service.snapshot import Snapshot
from service.task_store import DesiredState, TaskStore, TaskVersion

# What makes a stored prompt unfit to serve here; that a store is away is another matter.
_UNFIT = (PromptMisfit, TaskRejected, TooLarge, PromptMissing, CorruptStore)
_KEPT_LEFT = 8
Held = dict[str, dict[int, Resident]]


class PromptLoader:
    """Loads and proves what is not held yet. Blocks; one thread at a time.

    Attributes:
        refused: candidates that cannot be served here, by task, and why.
    """

    def __init__(self, prover: PromptProver, store: TaskStore, room: ModelRoom) -> None:
        self._prover = prover
        self._store = store
        self._room = room
        self._aside: dict[str, Resident] = {}  # by digest: proved, not yet published
        self._ready: dict[str, Resident] = {}  # by digest: candidates, to be switched to at once
        self._left: dict[str, Resident] = {}  # by digest: for a way back without loading
        self.refused: dict[str, str] = {}

    def held(self, model: Model, live: Snapshot, state: DesiredState) -> Held:
        """All that the state routes; live is what scores until then."""
        held = {
            name: {
                version.version: self._resident(model, live, name, version)
                for version in task.among(task.held)
            }
            for name, task in state.tasks.items()
        }
        self._left = self._still_left(model, live, held)
        return held

    def _still_left(self, model: Model, live: Snapshot, held: Held) -> dict[str, Resident]:
        """Of this model's prompts that shall score no more the latest few; none if slots are few.

        A task that was removed keeps nothing.
        """
        scored = [one for name in live.prompts for one in live.holding(name)]
        scoring = {one.slot for versions in held.values() for one in versions.values()}
        left = {
            one.sha256: one
            for one in (*self._left.values(), *scored)
            if one.slot not in scoring and one.slot.bank is model.bank and one.header.task in held
        }
        most = min(_KEPT_LEFT, model.bank.spare // 2)
        return dict([*left.items()][max(len(left) - most, 0) :])

    def candidates(self, model: Model, live: Snapshot, state: DesiredState) -> None:
        """Hold ready what may score next."""
        ready, refused = {}, {}
        for name, candidate in state.candidates.items():
            try:
                for version in state.task(name).among(candidate.held):
                    ready[version.sha256] = self._resident(model, live, name, version)
            except _UNFIT as err:
                refused[name] = str(err)
        self._ready, self.refused = ready, refused

    @contextmanager
    def aside(self, resident: Resident) -> Iterator[None]:
        """For a while a proved prompt needs no second proof."""
        self._aside[resident.sha256] = resident
        try:
            yield
        finally:
            self._aside.pop(resident.sha256, None)

    def _resident(self, model: Model, live: Snapshot, name: str, version: TaskVersion) -> Resident:
        """The prompt of a version in the bank of this very model."""
        sha256 = version.sha256
        kept = (self._aside, self._ready, self._left)
        known = *(prompts.get(sha256) for prompts in kept), self._room.resident(sha256)
        for found in (*live.holding(name), *known):
            if found is not None and found.sha256 == sha256 and found.slot.bank is model.bank:
                same = found.version == version.version
                return found if same else replace(found, version=version.version)
        return self._prover.prove_stored(model, name, version, self._store)
