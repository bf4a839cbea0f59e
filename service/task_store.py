"""The wanted state of the grafted tasks: what a task store holds and promises.

    prompt bytes --put_prompt--> sha256 --graft | activate | remove--> DesiredState --update--> all
                                                     ├--> UnknownTask    no task of this name
                                                     └--> TaskConflict   no version of this number
    followers: generation() moved? --read--> DesiredState --prompt(sha256)--> the same bytes

A state is a value: graft, activate and remove return the next one and touch nothing. The store
gives it its generation, and keeps the changes that led there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from service.errors import TaskConflict, UnknownTask

Action = Literal["graft", "activate", "remove"]
Note = Mapping[str, str | int | float | bool | None]
KEPT_VERSIONS = 20


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """A prompt that put_prompt stored.

    Attributes:
        created_at: Unix seconds.
        note: where it comes from, for people.
    """

    sha256: str
    size_bytes: int
    created_at: float
    note: Note = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskVersion:
    """A prompt of a task: 1, 2, ... No number comes twice, not even after the task was removed."""

    version: int
    sha256: str
    size_bytes: int
    created_at: float
    note: Note = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskState:
    """The versions of a task, oldest first, and the one that scores; None scores not at all."""

    active: int | None
    versions: tuple[TaskVersion, ...]

    def find(self, version: int) -> TaskVersion | None:
        return next((v for v in self.versions if v.version == version), None)


@dataclass(frozen=True, slots=True)
class Change:
    """Who did what, when, and the generation that it made (0: not yet stored)."""

    who: str
    at: float  # Unix seconds
    action: Action
    task: str
    version: int | None = None
    generation: int = 0


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What every worker shall serve.

    Attributes:
        generation: rises by one with each update.
        retired: the last version number of each removed task, so that none comes twice.
        changes: what made this generation out of the one before.
    """

    generation: int = 0
    tasks: Mapping[str, TaskState] = field(default_factory=dict)
    retired: Mapping[str, int] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    def prompts(self) -> frozenset[str]:
        """The digests of all prompts that the state names."""
        return frozenset(v.sha256 for task in self.tasks.values() for v in task.versions)

    def task(self, name: str) -> TaskState:
        """The task of this name, or UnknownTask."""
        try:
            return self.tasks[name]
        except KeyError as err:
            raise UnknownTask([name]) from err


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


def graft(
    state: DesiredState, task: str, prompt: StoredPrompt, who: str, *, active: bool = True
) -> DesiredState:
    """The state with one version more; the newest KEPT_VERSIONS stay, and the active one."""
    before = state.tasks.get(task, TaskState(active=None, versions=()))
    last = before.versions[-1].version if before.versions else state.retired.get(task, 0)
    number = last + 1
    added = TaskVersion(number, prompt.sha256, prompt.size_bytes, prompt.created_at, prompt.note)
    scoring = number if active else before.active
    versions = (*before.versions, added)
    oldest = versions[-KEPT_VERSIONS:][0].version
    kept = tuple(v for v in versions if v.version >= oldest or v.version == scoring)
    changed = {**state.tasks, task: TaskState(scoring, kept)}
    note = Change(who, prompt.created_at, "graft", task, number)
    return replace(state, tasks=changed, changes=(*state.changes, note))


def activate(state: DesiredState, task: str, version: int, who: str, at: float) -> DesiredState:
    """The state in which another version of a task scores: forwards or back.

    Raises:
        UnknownTask: no task of this name.
        TaskConflict: the task has no such version, or no more.
    """
    before = state.task(task)
    if before.find(version) is None:
        known = ", ".join(str(v.version) for v in before.versions)
        raise TaskConflict(f"task {task} has no version {version}; it has {known}")
    if before.active == version:
        return state
    changed = {**state.tasks, task: replace(before, active=version)}
    note = Change(who, at, "activate", task, version)
    return replace(state, tasks=changed, changes=(*state.changes, note))


def remove(state: DesiredState, task: str, who: str, at: float) -> DesiredState:
    """The state without a task.

    Raises:
        UnknownTask: no task of this name.
    """
    last = state.task(task).versions[-1].version
    changed = {name: kept for name, kept in state.tasks.items() if name != task}
    note = Change(who, at, "remove", task)
    return replace(
        state,
        tasks=changed,
        retired={**state.retired, task: last},
        changes=(*state.changes, note),
    )
