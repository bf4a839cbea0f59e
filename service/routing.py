"""Which versions of a task see traffic beside the one that scores for everybody.

PUT .../routing --> Routing, part of the desired state --> route.py: who answers which user
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that answers some users: always the same ones, and more as percent grows."""

    version: int
    percent: float


@dataclass(frozen=True, slots=True)
class Guard:
    """When a canary goes by itself.

    Attributes:
        max_psi: the most its scores may drift from the stable version's; None: any drift.
        min_overlap: the least they must agree on the best items; None: any order.
        min_rows: scored by both before it is judged.
    """

    max_psi: float | None = None
    min_overlap: float | None = None
    min_rows: int = 1000


@dataclass(frozen=True, slots=True)
class Routing:
    """Everything but the stable version.

    Attributes:
        shadow: a version that scores every request and answers none.
        guard: of the canary.
        since: Unix seconds since when these versions are compared.
    """

    canary: Canary | None = None
    shadow: int | None = None
    guard: Guard | None = None
    since: float = 0.0

    @property
    def versions(self) -> frozenset[int]:
        canary = None if self.canary is None else self.canary.version
        return frozenset(v for v in (canary, self.shadow) if v is not None)

    def without_canary(self) -> Routing:
        return Routing() if self.shadow is None else Routing(shadow=self.shadow, since=self.since)

    def told(self) -> str:
        """In words, for the history."""
        said = []
        if self.canary is not None:
            said.append(f"canary {self.canary.version} at {self.canary.percent:g} %")
        if self.shadow is not None:
            said.append(f"shadow {self.shadow}")
        if self.guard is not None:
            limits = (("psi", self.guard.max_psi), ("overlap", self.guard.min_overlap))
            named = " and ".join(f"{name} {limit:g}" for name, limit in limits if limit is not None)
            said.append(f"guarded by {named} after {self.guard.min_rows} rows")
        return ", ".join(said) or "the stable version alone"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one call asks for.

    Attributes:
        stable: the version that scores for everybody else; None: the present one.
    """

    stable: int | None
    routing: Routing
