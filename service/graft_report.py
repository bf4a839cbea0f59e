"""What a change of a task did: the answer to a graft, a rollback or a removal.

TaskRegistry --> GraftReport --> the admin port's ChangeView
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.prover import Checks
from service.routing import Routing


@dataclass(frozen=True, slots=True)
class GraftReport:
    """What a change did.

    Attributes:
        version: the one that was made or activated; None after a removal.
        workers: all that are alive, and how far each has come.
        checks: each check that was passed, with its figure.
        created: whether the task is new.
        routing: which versions see traffic beside it.
    """

    name: str
    version: int | None
    generation: int
    workers: Sequence[Mapping[str, str | int]]
    checks: Checks
    took_ms: float
    created: bool = False
    routing: Routing = field(default_factory=Routing)
