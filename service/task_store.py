"""The wanted state of the grafted tasks: what a task store holds and promises.

    prompt bytes --put_prompt--> sha256 --task_changes.py--> DesiredState --update--> all
    followers: generation() moved? --read--> DesiredState --prompt(sha256)--> the same bytes
               --acknowledge--> how far each has come

A state is a value; task_changes.py makes the next one. The store gives it its generation, and
keeps the changes that led there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from contract.prompt import Prompt
from service.backbone import BundleRef, Left, Upgrade
from service.drift import Tally
from service.errors import UnknownTask
from service.news import News
from service.resident import Resident
from service.routing import Routing

# 2: tasks have a routing and states a backbone, which an older program would drop without a word.
# Both are read.
FORMAT_VERSION: Final = 2
FormatVersion = Literal[1, 2]
Action = Literal["graft", "propose", "activate", "route", "withdraw", "remove", "end"]
WorkerState = Literal["serving", "behind"]
Note = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """A prompt that put_prompt stored.

    Attributes:
        created_at: Unix seconds.
        note: where it comes from, for people.
        backbone: the fingerprint that it was tuned on.
        signature: what signatures.py checks wherever the prompt is loaded.
        signer: name of the key that it was found to be of; empty if nobody looked.
    """

    sha256: str
    size_bytes: int
    created_at: float
    note: Note = field(default_factory=dict)
    backbone: str = ""
    signature: str = ""
    signer: str = ""

    @classmethod
    def of(cls, prompt: Prompt | Resident, signature: str, signer: str) -> StoredPrompt:
        """A prompt that is stored now."""
        header = prompt.header
        told = (header.provenance, header.backbone, signature, signer)
        return cls(prompt.sha256, prompt.size_bytes, time.time(), *told)


@dataclass(frozen=True, slots=True)
class TaskVersion:
    """A prompt of a task: 1, 2, ... No number comes twice, not even after the task was removed.

    Attributes:
        backbone: the fingerprint that it was tuned on; it scores on no other. Empty in a state of
            older programs: that of the only backbone which was ever live.
    """

    version: int
    sha256: str
    size_bytes: int
    created_at: float
    note: Note = field(default_factory=dict)
    backbone: str = ""
    signature: str = ""
    signer: str = ""

    @classmethod
    def of(cls, version: int, prompt: StoredPrompt) -> TaskVersion:
        return cls(
            version,
            prompt.sha256,
            prompt.size_bytes,
            prompt.created_at,
            prompt.note,
            prompt.backbone,
            prompt.signature,
            prompt.signer,
        )


@dataclass(frozen=True, slots=True)
class TaskState:
    """The versions of a task, oldest first, and the one that scores; None scores not at all.

    Attributes:
        routing: which others see traffic beside the active one.
    """

    active: int | None
    versions: tuple[TaskVersion, ...]
    routing: Routing = field(default_factory=Routing)

    @property
    def held(self) -> frozenset[int]:
        """The versions that a worker must hold to serve the task."""
        active = set() if self.active is None else {self.active}
        return self.routing.versions | active

    def among(self, numbers: frozenset[int]) -> tuple[TaskVersion, ...]:
        """The versions of these numbers."""
        return tuple(version for version in self.versions if version.version in numbers)

    def find(self, version: int) -> TaskVersion | None:
        return next((v for v in self.versions if v.version == version), None)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that every worker shall hold ready, and which is to score once all of them do.

    Attributes:
        at: Unix seconds of the proposal.
        fresh: whether the proposal brought the version, so that it goes if it is withdrawn.
        routing: what shall see traffic beside it; None: it alone, and that is no routing.
    """

    version: int
    at: float
    fresh: bool
    routing: Routing | None = None

    @property
    def held(self) -> frozenset[int]:
        """The versions that a worker must hold before it is confirmed."""
        return (self.routing or Routing()).versions | {self.version}


@dataclass(frozen=True, slots=True)
class Change:
    """Who did what, when, and the generation that it made (0: not yet stored).

    Attributes:
        task: empty for a change of the backbone.
        detail: what the other fields cannot say, for people.
    """

    who: str
    at: float  # Unix seconds
    action: Action
    task: str
    version: int | None = None
    generation: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What every worker shall serve.

    Attributes:
        generation: rises by one with each update.
        retired: version numbers that are gone and must not come again: the last of each task.
        candidates: by task, what is to score next.
        bundle: what scores; None, before the first upgrade, is the bundle that each was given.
        left: what scored before the last upgrade.
        upgrade: the backbone that is to score next.
        changes: what made this generation out of the one before.
    """

    generation: int = 0
    tasks: Mapping[str, TaskState] = field(default_factory=dict)
    retired: Mapping[str, int] = field(default_factory=dict)
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    bundle: BundleRef | None = None
    left: Left | None = None
    upgrade: Upgrade | None = None
    changes: tuple[Change, ...] = ()

    def prompts(self) -> frozenset[str]:
        """The digests of all prompts that the state names."""
        return frozenset(v.sha256 for task in self.tasks.values() for v in task.versions)

    @property
    def live(self) -> BundleRef | None:
        """The backbone that scores, where the state tells: since the first upgrade was proposed."""
        return self.bundle or (None if self.upgrade is None else self.upgrade.origin)

    def takes(self, backbone: str) -> bool:
        """Whether a prompt of this backbone may score; an empty one is not told."""
        return self.live is None or backbone in ("", self.live.fingerprint)

    def only_proposed(self, name: str) -> bool:
        """Whether a task is nothing yet but a proposal, which its proposer may not live to end."""
        candidate, task = self.candidates.get(name), self.tasks.get(name)
        if task is None:
            return False
        proposed = {candidate.version} if candidate is not None and candidate.fresh else set[int]()
        if self.upgrade is not None and name in self.upgrade.fresh:
            proposed.add(self.upgrade.active[name])
        return {v.version for v in task.versions} <= proposed

    def task(self, name: str) -> TaskState:
        """The task of this name, or UnknownTask."""
        try:
            return self.tasks[name]
        except KeyError as err:
            raise UnknownTask([name]) from err


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How far one worker has come.

    Attributes:
        generation: the one it serves.
        reason: why it is behind.
        refused: candidates that it cannot serve, by task, and why.
        tallies: what it has counted of versions that are compared.
        upgrade: the key of the upgrade that it holds ready, or cannot serve.
        unprepared: why it cannot.
    """

    worker: str
    generation: int
    state: WorkerState
    reason: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    tallies: tuple[Tally, ...] = field(default=(), compare=False)
    upgrade: str = ""
    unprepared: str = ""


class TaskStore(Protocol):
    """Holds the wanted state and the prompt files. All calls block: use asyncio.to_thread.

    Raises:
        StoreUnavailable: it cannot be reached, locked or written now.
        CorruptStore: what it holds is damaged.
    """

    def read(self) -> DesiredState:
        """The last committed state."""

    def generation(self) -> int:
        """Its generation, cheap enough to be asked many times a second."""

    def history(self) -> tuple[Change, ...]:
        """All changes ever committed, oldest first."""

    def prompt(self, sha256: str) -> bytes:
        """The prompt of this digest, verified; PromptMissing if there is none."""

    def put_prompt(self, content: bytes) -> str:
        """Stores a prompt durably and returns its digest. To be named by an update within the hour.

        A prompt that no state names is garbage after that.
        """

    def update(self, change: Callable[[DesiredState], DesiredState]) -> DesiredState:
        """Commits change(the last state), durably and as a whole, as the next generation.

        Updates follow one another, whoever makes them. The change may be called more than once, and
        may raise: then nothing happens. A change that changes nothing makes no generation.

        Raises:
            PromptMissing: the new state names a prompt that is not stored.
        """

    def acknowledge(self, told: Acknowledgement, lease_s: float) -> None:
        """Tells how far a worker has come; it counts as alive for lease_s from now."""

    def acknowledgements(self) -> tuple[Acknowledgement, ...]:
        """What the workers alive have told last."""

    def news(self) -> News:
        """Word of new states, for one thread."""

    def worker_news(self) -> News:
        """Word of acknowledgements, for one thread."""

    def forget(self, worker: str) -> None:
        """The worker ends: nobody needs to wait for it."""
