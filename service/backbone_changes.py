"""The steps of an upgrade, from one desired state to the next; each touches nothing.

    DesiredState --propose--> every worker holds it ready --confirm--> backbone and prompts at once
                                        └--> one cannot --withdraw--> as it was
                     ├--> UncoveredTasks   live tasks that the new backbone would not serve
                     └--> TaskConflict     another call changed the backbone, or one of the tasks

Grafts go on while workers prepare; what they added meanwhile is looked at once more by confirm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from service.backbone import BundleRef, Left, Upgrade
from service.errors import TaskConflict, UncoveredTasks
from service.task_changes import last_version
from service.task_store import Action, Change, DesiredState, StoredPrompt, TaskState, TaskVersion


def propose_upgrade(
    state: DesiredState, upgrade: Upgrade, prompts: Mapping[str, StoredPrompt], who: str
) -> DesiredState:
    """The state in which a backbone, with these prompts, is to score once all workers hold it.

    A live task whose version was tuned on that very backbone keeps it.

    Raises:
        UncoveredTasks: live tasks that have no prompt among these, are no head of it and are not
            to be dropped.
        TaskConflict: the origin is not live, or a prompt is for a head of the bundle.
    """
    _refuse_rival(state)
    _refuse_origin(state, upgrade)
    tasks = _known(state, upgrade.origin)
    state = replace(state, tasks=tasks)
    kept = {
        name: version.version
        for name, version in _live(state).items()
        if version.backbone == upgrade.bundle.fingerprint and name not in upgrade.heads
    }
    fresh = dict[str, int]()
    for name, prompt in prompts.items():
        if name in upgrade.heads:
            raise TaskConflict(f"{name} is a pre-trained task of that bundle: leave its prompt out")
        before = tasks.get(name, TaskState(active=None, versions=()))
        known = next((v for v in before.versions if v.sha256 == prompt.sha256), None)
        if known is not None:
            kept[name] = known.version
            continue
        added = TaskVersion.of(last_version(state, name) + 1, prompt)
        tasks[name] = replace(before, versions=(*before.versions, added))
        fresh[name] = added.version
    changes = [Change(who, upgrade.at, "propose", name, number) for name, number in fresh.items()]
    changes.append(_note(upgrade, "propose", who, upgrade.at))
    proposed = replace(upgrade, active=kept | fresh, fresh=tuple(fresh))
    _refuse_uncovered(state, proposed)
    return replace(state, tasks=tasks, upgrade=proposed, changes=(*state.changes, *changes))


def propose_return(state: DesiredState, upgrade: Upgrade, who: str) -> DesiredState:
    """The state in which what was left by the last upgrade is to score again.

    Tasks that were grafted since then end; their versions stay, for the way forward.

    Raises:
        TaskConflict: nothing was left, or it is not what upgrade names.
    """
    _refuse_rival(state)
    _refuse_origin(state, upgrade)
    if state.left is None or state.left.bundle != upgrade.bundle:
        raise TaskConflict("no backbone was live before this one; there is nothing to go back to")
    active = {
        name: number
        for name, number in state.left.active.items()
        if name in state.tasks and state.tasks[name].find(number) is not None
    }
    note = _note(upgrade, "propose", who, upgrade.at)
    drop = tuple(sorted({*_live(state)} - {*active}))
    proposed = replace(upgrade, active=active, drop=drop)
    return replace(state, upgrade=proposed, changes=(*state.changes, note))


def confirm_upgrade(state: DesiredState, key: str, who: str, at: float) -> DesiredState:
    """The state in which the proposed backbone scores, with its prompts and nothing else.

    Raises:
        TaskConflict: it is proposed no more, or one of its prompts is gone.
        UncoveredTasks: a task was grafted meanwhile that it would not serve.
    """
    upgrade = state.upgrade
    if upgrade is None or upgrade.key != key:
        raise TaskConflict(
            "the proposal was withdrawn while the workers loaded it; look at GET /v1/backbone and "
            "try again"
        )
    _refuse_origin(state, upgrade)
    _refuse_uncovered(state, upgrade)
    live = {name: version.version for name, version in _live(state).items()}
    tasks, changes = dict[str, TaskState](), list[Change]()
    for name, task in state.tasks.items():
        number = upgrade.active.get(name)
        if number is not None and task.find(number) is None:
            raise TaskConflict(f"task {name} lost version {number} while the workers loaded it")
        if number != task.active:
            action: Action = "end" if number is None else "activate"
            changes.append(Change(who, at, action, name, number))
        tasks[name] = TaskState(number, task.versions)
    if missing := sorted(upgrade.active.keys() - tasks.keys()):
        raise TaskConflict(f"{', '.join(missing)} was removed while the workers loaded it")
    changes.append(_note(upgrade, "activate", who, at))
    return replace(
        state,
        tasks=tasks,
        candidates={},
        bundle=upgrade.bundle,
        left=Left(upgrade.origin, live),
        upgrade=None,
        changes=(*state.changes, *changes),
    )


def withdraw_upgrade(state: DesiredState, key: str, who: str, at: float) -> DesiredState:
    """The state without this proposal; unchanged when it is proposed no more."""
    upgrade = state.upgrade
    if upgrade is None or key != upgrade.key:
        return state
    tasks, retired = dict(state.tasks), dict(state.retired)
    for name in upgrade.fresh:
        if name not in tasks:
            continue
        number = upgrade.active[name]
        versions = tuple(v for v in tasks[name].versions if v.version != number)
        retired[name] = max(retired.get(name, 0), last_version(state, name))
        tasks[name] = replace(tasks[name], versions=versions)
        if not versions:
            del tasks[name]
    note = _note(upgrade, "withdraw", who, at)
    return replace(
        state, tasks=tasks, retired=retired, upgrade=None, changes=(*state.changes, note)
    )


def void_upgrade(state: DesiredState, now: float) -> DesiredState:
    """The state without a proposal whose proposer must be gone."""
    if state.upgrade is None or state.upgrade.until >= now:
        return state
    return withdraw_upgrade(state, state.upgrade.key, "expiry", now)


def _live(state: DesiredState) -> dict[str, TaskVersion]:
    found = {
        name: task.find(task.active)
        for name, task in state.tasks.items()
        if task.active is not None
    }
    return {name: version for name, version in found.items() if version is not None}


def _refuse_rival(state: DesiredState) -> None:
    if state.upgrade is not None:
        raise TaskConflict(
            f"backbone {state.upgrade.bundle} is being made ready by another call: wait for it"
        )


def _refuse_origin(state: DesiredState, upgrade: Upgrade) -> None:
    if state.bundle not in (None, upgrade.origin):
        raise TaskConflict(
            f"backbone {state.bundle} became live meanwhile; look at GET /v1/backbone and try again"
        )


def _refuse_uncovered(state: DesiredState, upgrade: Upgrade) -> None:
    served = {*upgrade.heads, *upgrade.active, *upgrade.drop}
    if uncovered := [name for name in _live(state) if name not in served]:
        raise UncoveredTasks(uncovered)


def _note(upgrade: Upgrade, action: Action, who: str, at: float) -> Change:
    """A change of the backbone is a change of no task."""
    return Change(who, at, action, "", detail=f"backbone {upgrade.bundle}")


def _known(state: DesiredState, origin: BundleRef) -> dict[str, TaskState]:
    """The tasks, each version with its backbone: what was grafted by older programs named none."""
    return {
        name: replace(
            task,
            versions=tuple(
                replace(v, backbone=v.backbone or origin.fingerprint) for v in task.versions
            ),
        )
        for name, task in state.tasks.items()
    }
