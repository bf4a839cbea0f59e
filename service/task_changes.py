"""The steps from one wanted state to the next; each returns a new state and touches nothing.

    DesiredState --graft | activate | remove--> DesiredState
                 --propose...--> every worker holds it ready --confirm--> it scores
                                          └--> one cannot --withdraw--> as it was
                     ├--> UnknownTask    no task of this name
                     └--> TaskConflict   no version of this number, or another proposal took over

Whatever changes a task ends its candidate: of two who want to switch one task, the later wins and
the earlier is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from service.errors import TaskConflict
from service.task_store import (
    Candidate,
    Change,
    DesiredState,
    StoredPrompt,
    TaskState,
    TaskVersion,
)

KEPT_VERSIONS = 20


def graft(
    state: DesiredState, task: str, prompt: StoredPrompt, who: str, *, active: bool = True
) -> DesiredState:
    """The state with one version more; the newest KEPT_VERSIONS stay, and the active one."""
    before = state.tasks.get(task, TaskState(active=None, versions=()))
    known = before.versions[-1].version if before.versions else 0
    number = max(known, state.retired.get(task, 0)) + 1
    added = TaskVersion(number, prompt.sha256, prompt.size_bytes, prompt.created_at, prompt.note)
    scoring = number if active else before.active
    versions = (*before.versions, added)
    oldest = versions[-KEPT_VERSIONS:][0].version
    kept = tuple(v for v in versions if v.version >= oldest or v.version == scoring)
    note = Change(who, prompt.created_at, "graft", task, number)
    return _with(state, note, TaskState(scoring, kept))


def activate(state: DesiredState, task: str, version: int, who: str, at: float) -> DesiredState:
    """The state in which another version of a task scores: forwards or back.

    Raises:
        UnknownTask: no task of this name.
        TaskConflict: the task has no such version, or no more.
    """
    before = _having(state, task, version)
    if before.active == version:
        return state
    note = Change(who, at, "activate", task, version)
    return _with(state, note, replace(before, active=version))


def remove(state: DesiredState, task: str, who: str, at: float) -> DesiredState:
    """The state without a task.

    Raises:
        UnknownTask: no task of this name.
    """
    before = state.task(task)
    return _with(state, Change(who, at, "remove", task), replace(before, active=None, versions=()))


def propose_graft(state: DesiredState, task: str, prompt: StoredPrompt, who: str) -> DesiredState:
    """The state with one version more, which is to score once all workers hold it."""
    after = graft(state, task, prompt, who, active=False)
    version = after.tasks[task].versions[-1].version
    return _proposing(after, task, Candidate(version, prompt.created_at, fresh=True))


def propose(state: DesiredState, task: str, version: int, who: str, at: float) -> DesiredState:
    """The state in which a known version is to score once all workers hold it.

    Raises:
        UnknownTask, TaskConflict: as activate.
    """
    before = _having(state, task, version)
    if before.active == version:
        return state
    after = _with(state, Change(who, at, "propose", task, version), before)
    return _proposing(after, task, Candidate(version, at, fresh=False))


def confirm(state: DesiredState, task: str, version: int, who: str, at: float) -> DesiredState:
    """The state in which a candidate scores.

    Raises:
        TaskConflict: it is the candidate no more.
    """
    if _candidate(state, task) != version:
        raise TaskConflict(
            f"task {task} was changed by another call while the workers loaded version {version}; "
            "look at its history and try again"
        )
    return activate(state, task, version, who, at)


def withdraw(state: DesiredState, task: str, version: int, who: str, at: float) -> DesiredState:
    """The state without a candidate; unchanged when it is the candidate no more."""
    if _candidate(state, task) != version:
        return state
    before = state.task(task)
    if state.candidates[task].fresh:
        before = replace(before, versions=tuple(v for v in before.versions if v.version != version))
    return _with(state, Change(who, at, "withdraw", task, version), before)


def expire(state: DesiredState, before: float) -> DesiredState:
    """The state without candidates proposed before then: whoever proposed them is gone."""
    for task, candidate in state.candidates.items():
        if candidate.at < before:
            state = withdraw(state, task, candidate.version, "expiry", before)
    return state


def _having(state: DesiredState, task: str, version: int) -> TaskState:
    found = state.task(task)
    if found.find(version) is None:
        known = ", ".join(str(v.version) for v in found.versions)
        raise TaskConflict(f"task {task} has no version {version}; it has {known}")
    return found


def _candidate(state: DesiredState, task: str) -> int | None:
    found = state.candidates.get(task)
    return None if found is None else found.version


def _proposing(state: DesiredState, task: str, candidate: Candidate) -> DesiredState:
    return replace(state, candidates={**state.candidates, task: candidate})


def _with(state: DesiredState, change: Change, task: TaskState) -> DesiredState:
    """The state with one task changed, without its candidate; gone when it has no versions."""
    name = change.task
    last = _last(state, name)
    tasks = {**state.tasks, name: task}
    if not task.versions:
        del tasks[name]
    retired: Mapping[str, int] = state.retired
    if not task.versions or task.versions[-1].version < last:
        retired = {**retired, name: last}
    candidates = {other: c for other, c in state.candidates.items() if other != name}
    return replace(
        state,
        tasks=tasks,
        retired=retired,
        candidates=candidates,
        changes=(*state.changes, change),
    )


def _last(state: DesiredState, task: str) -> int:
    """The highest version number that the task ever had."""
    found = state.tasks.get(task)
    known = found.versions[-1].version if found is not None and found.versions else 0
    return max(known, state.retired.get(task, 0))
