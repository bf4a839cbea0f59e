"""What is live at one moment: an immutable world that a request takes once.

TaskRegistry --publishes--> Snapshot --names, slots, versions--> Scorer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contract.prompt import PromptHeader
from service.bank import Slot
from service.errors import UnknownTask
from service.model import Model
from service.task_store import DesiredState


@dataclass(frozen=True, slots=True)
class Resident:
    """A prompt in the bank, checked and replayed."""

    header: PromptHeader
    version: int
    sha256: str
    size_bytes: int
    slot: Slot


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model's heads and the live prompts under one generation.

    Attributes:
        model: the backbone that scores; all prompts were tuned on it and stand in its bank.
        names: all live tasks, heads first, then prompts in the order they were added.
        wanted: the desired state this snapshot fulfils.
    """

    model: Model
    heads: frozenset[str]
    prompts: Mapping[str, Resident]
    wanted: DesiredState
    names: tuple[str, ...]
    _known: frozenset[str] = field(repr=False)

    @classmethod
    def of(cls, model: Model, prompts: Mapping[str, Resident], wanted: DesiredState) -> Snapshot:
        names = (*model.heads, *prompts)
        return cls(model, frozenset(model.heads), prompts, wanted, names, frozenset(names))

    @property
    def generation(self) -> int:
        return self.wanted.generation

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def divide(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Live tasks as (heads, prompts)."""
        heads = [name for name in names if name in self.heads]
        return heads, [name for name in names if name not in self.heads]

    def version(self, name: str) -> int:
        """The version that scores: 0 for a head."""
        return 0 if name in self.heads else self.resident(name).version

    def resident(self, name: str) -> Resident:
        """A live prompt, or UnknownTask."""
        try:
            return self.prompts[name]
        except KeyError as err:
            raise UnknownTask([name]) from err
