"""What is live at one moment: an immutable world that a request takes once.

TaskRegistry --publishes--> Snapshot --names, slots, versions--> Scorer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contract.errors import PromptMisfit
from service.errors import UnknownTask
from service.model import Model
from service.resident import Resident
from service.route import Route
from service.task_store import DesiredState


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model's heads and the live prompts under one generation.

    Attributes:
        model: the backbone that scores; all prompts were tuned on it and stand in its bank.
        prompts: by task, the stable one.
        routes: of the tasks where others see traffic beside it.
        names: all live tasks, heads first, then prompts in the order they were added.
        wanted: the desired state this snapshot fulfils.
    """

    model: Model
    heads: frozenset[str]
    prompts: Mapping[str, Resident]
    routes: Mapping[str, Route]
    wanted: DesiredState
    names: tuple[str, ...]
    _known: frozenset[str] = field(repr=False)

    @classmethod
    def of(
        cls, model: Model, held: Mapping[str, Mapping[int, Resident]], wanted: DesiredState
    ) -> Snapshot:
        """The world of a model; nothing in it could score on another backbone.

        Args:
            model: what scores.
            held: by task and version, all that the state routes.
            wanted: the state.

        Raises:
            PromptMisfit: a prompt that stands in another model's bank.
        """
        prompts, routes = {}, {}
        for name, versions in held.items():
            if any(resident.slot.bank is not model.bank for resident in versions.values()):
                raise PromptMisfit(
                    "wrong_backbone",
                    f"task {name} was made ready for another backbone than {model.ref}",
                )
            task = wanted.task(name)
            if task.active is None:
                continue
            prompts[name] = versions[task.active]
            if task.routing.versions:
                routes[name] = Route.of(name, prompts[name], task.routing, versions)
        names = (*model.heads, *prompts)
        return cls(model, frozenset(model.heads), prompts, routes, wanted, names, frozenset(names))

    @property
    def generation(self) -> int:
        return self.wanted.generation

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def divide(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Live tasks as (heads, prompts)."""
        heads = [name for name in names if name in self.heads]
        return heads, [name for name in names if name not in self.heads]

    def holding(self, name: str) -> tuple[Resident, ...]:
        """All versions of a task that see traffic."""
        stable = self.prompts.get(name)
        if stable is None:
            return ()
        route = self.routes.get(name)
        return (stable,) if route is None else (stable, *route.others)

    def resident(self, name: str) -> Resident:
        """The stable prompt of a task, or UnknownTask."""
        try:
            return self.prompts[name]
        except KeyError as err:
            raise UnknownTask([name]) from err
