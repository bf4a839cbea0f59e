"""The steps from one wanted state to the next; each returns a new state and touches nothing.

    DesiredState --graft | activate | route | remove--> DesiredState
                 --propose...--> every worker holds it ready --confirm--> it scores
                                          └--> one cannot --withdraw--> as it was
                     ├--> UnknownTask    no task of this name
                     ├--> TaskConflict   no version of this number, or another proposal took over
                     └--> InvalidField   a routing that contradicts itself

Whatever changes a task ends its candidate: of two who want to switch one task, the later wins and
the earlier is told. Whatever lets a version score for everybody ends the task's routing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from service.errors import InvalidField, TaskConflict
from service.routing import Routing, Wanted
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
    """The state with one version more; the newest KEPT_VERSIONS stay, and those that are held."""
    note = Change(who, prompt.created_at, "graft", task)
    return _add(state, note, prompt, active=active)


def activate(state: DesiredState, task: str, version: int, who: str, at: float) -> DesiredState:
    """The state in which one version of a task scores for everybody: forwards or back.

    Raises:
        UnknownTask: no task of this name.
        TaskConflict: the task has no such version, or no more.
    """
    return _point(state, Change(who, at, "activate", task, version), Routing())


def route(state: DesiredState, wanted: Wanted, task: str, who: str, at: float) -> DesiredState:
    """The state in which other versions see traffic beside the stable one.

    Raises:
        UnknownTask: no task of this name.
        TaskConflict: the task has no such version, or none is stable.
        InvalidField: the canary or the shadow is the stable version, or a guard has nothing to do.
    """
    stable, routing = _wanted(state.task(task), wanted, task, at)
    return _point(state, Change(who, at, "route", task, stable, detail=routing.told()), routing)


def stop_canary(
    state: DesiredState, task: str, routing: Routing, why: str, at: float
) -> DesiredState:
    """The state without the canary of this routing; unchanged when the routing is another now."""
    found = state.tasks.get(task)
    if found is None or routing.canary is None or found.routing != routing:
        return state
    detail = f"canary {routing.canary.version} taken away: {why}"
    note = Change("guard", at, "route", task, found.active, detail=detail)
    return _with(state, note, replace(found, routing=routing.without_canary()))


def remove(state: DesiredState, task: str, who: str, at: float) -> DesiredState:
    """The state without a task.

    Raises:
        UnknownTask: no task of this name.
    """
    before = state.task(task)
    return _with(state, Change(who, at, "remove", task), replace(before, active=None, versions=()))


def propose_graft(state: DesiredState, task: str, prompt: StoredPrompt, who: str) -> DesiredState:
    """The state with one version more, which is to score once all workers hold it."""
    note = Change(who, prompt.created_at, "propose", task)
    after = _add(state, note, prompt, active=False)
    version = after.tasks[task].versions[-1].version
    return _proposing(after, task, Candidate(version, prompt.created_at, fresh=True))


def propose(state: DesiredState, task: str, version: int, who: str, at: float) -> DesiredState:
    """The state in which a known version is to score once all workers hold it.

    Raises:
        UnknownTask, TaskConflict: as activate.
    """
    if activate(state, task, version, who, at) is state:
        return state
    after = _with(state, Change(who, at, "propose", task, version), state.tasks[task])
    return _proposing(after, task, Candidate(version, at, fresh=False))


def propose_route(
    state: DesiredState, wanted: Wanted, task: str, who: str, at: float
) -> DesiredState:
    """The state in which a routing is to come once all workers hold its versions.

    Raises:
        UnknownTask, TaskConflict, InvalidField: as route.
    """
    if route(state, wanted, task, who, at) is state:
        return state
    stable, routing = _wanted(state.task(task), wanted, task, at)
    note = Change(who, at, "propose", task, stable, detail=routing.told())
    candidate = Candidate(stable, at, fresh=False, routing=routing)
    return _proposing(_with(state, note, state.tasks[task]), task, candidate)


def confirm(
    state: DesiredState, task: str, candidate: Candidate, who: str, at: float
) -> DesiredState:
    """The state in which a candidate scores.

    Raises:
        TaskConflict: it is the candidate no more.
    """
    version, routing = candidate.version, candidate.routing
    if state.candidates.get(task) != candidate:
        raise TaskConflict(
            f"task {task} was changed by another call while the workers loaded version {version}; "
            "look at its history and try again"
        )
    if routing is not None:
        note = Change(who, at, "route", task, version, detail=routing.told())
        return _point(state, note, routing)
    note = Change(who, at, "graft" if candidate.fresh else "activate", task, version)
    return _point(state, note, Routing())


def withdraw(
    state: DesiredState, task: str, candidate: Candidate, who: str, at: float
) -> DesiredState:
    """The state without a candidate; unchanged when it is the candidate no more."""
    if state.candidates.get(task) != candidate:
        return state
    before, gone = state.task(task), candidate.version
    if candidate.fresh:
        before = replace(before, versions=tuple(v for v in before.versions if v.version != gone))
    return _with(state, Change(who, at, "withdraw", task, gone), before)


def expire(state: DesiredState, before: float) -> DesiredState:
    """The state without candidates proposed before then: whoever proposed them is gone."""
    for task, candidate in state.candidates.items():
        if candidate.at < before:
            state = withdraw(state, task, candidate, "expiry", before)
    return state


def _add(state: DesiredState, note: Change, prompt: StoredPrompt, *, active: bool) -> DesiredState:
    task = note.task
    before = state.tasks.get(task, TaskState(active=None, versions=()))
    _refuse_foreign(state, task, prompt.backbone)
    number = last_version(state, task) + 1
    added = TaskVersion.of(number, prompt)
    after = TaskState(number, ()) if active else before
    versions = (*before.versions, added)
    oldest = versions[-KEPT_VERSIONS:][0].version
    held = after.held | _held_by_backbones(state, task)
    kept = tuple(v for v in versions if v.version >= oldest or v.version in held)
    detail = f"signed by {prompt.signer}" if prompt.signer else note.detail
    note = replace(note, version=number, detail=detail)
    return _with(state, note, replace(after, versions=kept))


def _point(state: DesiredState, note: Change, routing: Routing) -> DesiredState:
    """The state in which the noted version is active beside a routing, if it is not yet.

    Raises:
        UnknownTask, TaskConflict: as activate.
    """
    before = state.task(note.task)
    after = replace(before, active=note.version, routing=routing)
    for version in sorted(after.held):
        found = before.find(version)
        if found is None:
            known = ", ".join(str(v.version) for v in before.versions)
            raise TaskConflict(f"task {note.task} has no version {version}; it has {known}")
        _refuse_foreign(state, f"{note.task} version {version}", found.backbone)
    return state if after == before else _with(state, note, after)


def _refuse_foreign(state: DesiredState, what: str, backbone: str) -> None:
    """Raises TaskConflict for a prompt of another backbone than the live one."""
    if not state.takes(backbone):
        raise TaskConflict(
            f"{what} was tuned on backbone {backbone[:12]}, and {state.live} is live: tune it on "
            "this one, or roll the backbone back"
        )


def _held_by_backbones(state: DesiredState, task: str) -> set[int]:
    """The versions that the backbone just left, or the proposed one, scores with."""
    found = {plan.active.get(task) for plan in (state.left, state.upgrade) if plan is not None}
    return {version for version in found if version is not None}


def _wanted(before: TaskState, wanted: Wanted, task: str, at: float) -> tuple[int, Routing]:
    """The stable version and the routing; what was compared before is so since before.

    Raises:
        TaskConflict, InvalidField: as route.
    """
    stable = before.active if wanted.stable is None else wanted.stable
    if stable is None:
        raise TaskConflict(f"no version of task {task} scores yet; name the stable one")
    routing = wanted.routing
    if routing.canary is not None and routing.canary.version == stable:
        raise InvalidField("canary.version", f"{stable} is the stable version; name another one")
    if routing.shadow == stable:
        raise InvalidField("shadow", f"{stable} is the stable version; name another one")
    if routing.guard is not None and routing.canary is None:
        raise InvalidField("guard", "there is no canary to guard")
    if not routing.versions:
        return stable, Routing()
    same = (stable, routing.versions) == (before.active, before.routing.versions)
    return stable, replace(routing, since=before.routing.since if same else at)


def _proposing(state: DesiredState, task: str, candidate: Candidate) -> DesiredState:
    return replace(state, candidates={**state.candidates, task: candidate})


def _with(state: DesiredState, change: Change, task: TaskState) -> DesiredState:
    """The state with one task changed, without its candidate; gone when it has no versions."""
    name = change.task
    last = last_version(state, name)
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


def last_version(state: DesiredState, task: str) -> int:
    """The highest version number that the task ever had."""
    found = state.tasks.get(task)
    known = found.versions[-1].version if found is not None and found.versions else 0
    return max(known, state.retired.get(task, 0))
