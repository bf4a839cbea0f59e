"""Who answers which user for a task with a canary or a shadow.

    Routing, the prompts it names --Route--> user --> the version that answers, those beside it

A user's place is a hash of task, canary and user: the same in every worker of every replica, with
nothing stored. A larger percentage takes more users in and puts none out; another canary draws
other users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from service.resident import Resident
from service.routing import Routing


@dataclass(frozen=True, slots=True)
class Route:
    """A task's stable prompt and the others that its routing names.

    Attributes:
        percent: of users whom the canary answers.
        routing: as it is wanted.
    """

    task: str
    stable: Resident
    canary: Resident | None
    percent: float
    shadow: Resident | None
    routing: Routing

    @classmethod
    def of(
        cls, task: str, stable: Resident, routing: Routing, held: Mapping[int, Resident]
    ) -> Route:
        """Args: held: by version, at least those of the routing."""
        canary = None if routing.canary is None else held[routing.canary.version]
        percent = 0.0 if routing.canary is None else routing.canary.percent
        shadow = None if routing.shadow is None else held[routing.shadow]
        return cls(task, stable, canary, percent, shadow, routing)

    @property
    def others(self) -> tuple[Resident, ...]:
        """All but the stable one; one that is both canary and shadow comes once."""
        others = {r.version: r for r in (self.canary, self.shadow) if r is not None}
        return tuple(others.values())

    def answering(self, user: str) -> Resident:
        """The version that this user gets."""
        if self.canary is None:
            return self.stable
        drawn = place(self.task, self.canary.version, user)
        return self.canary if drawn < self.percent else self.stable


def place(task: str, version: int, user: str) -> float:
    """A user's place among all users of a canary, in [0, 100)."""
    digest = blake2b(f"{task}\0{version}\0{user}".encode(), digest_size=8).digest()
    # 53 bits are all that a float holds: more could round up to 100.
    return (int.from_bytes(digest) >> 11) / 2**53 * 100
