"""Which prompts score one request, and which of them answer it.

    Snapshot, asked prompts, user --Plan.of--> residents: who answers, then who is compared
    their columns --compared--> drift.py

A version is compared with the stable one where both score the same rows in the same run: beside a
canary that answers, the stable version is computed too, and beside all answers the shadow. A column
does not depend on its neighbours, so what is answered is what would have been answered alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.drift import Compared, Pair
from service.resident import Resident
from service.route import Route
from service.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Plan:
    """The columns of one prompt-head run.

    Attributes:
        residents: one per asked prompt, in that order; then those that are only compared.
        compared: pairs of columns.
        canaries: asked tasks that a canary answers.
    """

    residents: Sequence[Resident]
    compared: Sequence[Compared] = ()
    canaries: Sequence[str] = ()

    def versions(self, names: Sequence[str]) -> dict[str, int]:
        """Which version answers each asked prompt."""
        return {name: self.residents[at].version for at, name in enumerate(names)}

    @classmethod
    def of(cls, snapshot: Snapshot, names: Sequence[str], user: str) -> Plan:
        """Raises UnknownTask for a name that is no live prompt."""
        routes = snapshot.routes
        if not routes:
            return cls([snapshot.resident(name) for name in names])
        answering = [
            routes[name].answering(user) if name in routes else snapshot.resident(name)
            for name in names
        ]
        residents, compared = list(answering), list[Compared]()
        for at, name in enumerate(names):
            if name in routes:
                _compare(routes[name], at, residents, compared)
        canaries = [
            name
            for name, one in zip(names, answering, strict=True)
            if name in routes and one is routes[name].canary
        ]
        return cls(residents, compared, canaries)


def _compare(
    route: Route, answering: int, residents: list[Resident], compared: list[Compared]
) -> None:
    """Add a task's comparisons, and the columns they need beside the answering one."""
    columns = {residents[answering].version: answering}

    def column(resident: Resident) -> int:
        if resident.version not in columns:
            columns[resident.version] = len(residents)
            residents.append(resident)
        return columns[resident.version]

    shadow = () if route.shadow is None else (route.shadow,)
    others = {one.version: one for one in (residents[answering], *shadow)}
    for other in others.values():
        if other.version != route.stable.version:
            pair = Pair(route.task, other.version, route.routing.since)
            compared.append(Compared(pair, column(route.stable), column(other)))
