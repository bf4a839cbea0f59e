"""Let another version of a task score everywhere, or nowhere.

    proposed --every worker loads and proves it--> confirmed --every worker switches--> settled
                  └--> NotConverged: withdrawn; no worker has scored with it

All the work is done before the second commit, so between the first and the last worker's switch
lies only the time in which they notice it. A worker that is alone needs one commit.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from service.errors import NotConverged, StoreUnavailable
from service.fleet import Fleet
from service.task_changes import confirm, withdraw
from service.task_store import DesiredState

Wait = Literal["all", "local"]
Step = Callable[[DesiredState], DesiredState]


class Commit(Protocol):
    """TaskRegistry.commit."""

    def __call__(
        self, change: Step, first: Callable[[], object] | None = None
    ) -> Awaitable[DesiredState]: ...


@dataclass(frozen=True, slots=True)
class Switch:
    """What one call wants of a task.

    Attributes:
        at_once: the step that lets the version score without asking anybody.
        proposal: the step that makes it a candidate.
        first: what must be done before either; blocks.
    """

    task: str
    actor: str
    at_once: Step
    proposal: Step
    first: Callable[[], object] | None = None


class Rollout:
    """Carries out a switch.

    Args:
        commit: does what must be done first, commits a step and publishes the state that it led
            to, here.
        fleet: the workers that shall follow.
    """

    def __init__(self, commit: Commit, fleet: Fleet) -> None:
        self._commit = commit
        self._fleet = fleet

    async def run(self, switch: Switch, wait: Wait) -> DesiredState:
        """The state in which the version scores; committed, and published here.

        Raises:
            NotConverged: some worker cannot serve it; nothing changed.
            TaskConflict: another call changed the task meanwhile.
            StoreUnavailable: the store went away; the version does not score, unless the last
                commit arrived and its reply did not.
        """

        def begin(state: DesiredState) -> DesiredState:
            alone = wait == "local" or self._fleet.alone()
            return switch.at_once(state) if alone else switch.proposal(state)

        proposed = await self._commit(begin, switch.first)
        task, actor = switch.task, switch.actor
        if task not in proposed.candidates:
            return proposed  # it scores
        candidate = proposed.candidates[task]
        try:
            await self._fleet.hold_ready(proposed.generation, task)
        except (NotConverged, StoreUnavailable):
            await self._commit(lambda s: withdraw(s, task, candidate, actor, time.time()))
            raise
        return await self._commit(lambda s: confirm(s, task, candidate, actor, time.time()))
