"""What the service answers, typed. Fields a newer service adds are kept in model_extra.

JSON --calls.py--> one of these | pydantic's ValidationError, which calls.py turns into Unavailable
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from client.requests import Id

Degraded = Literal["none", "near_cache", "stale", "client_history", "no_history"]


class _Answer(BaseModel):
    # A client must outlive a service's upgrade: what it does not know yet is no error.
    model_config = ConfigDict(frozen=True, extra="allow")


class Scored(_Answer):
    """Which version of a task scored; 0 for a pre-trained one."""

    version: int


class Ranked(_Answer):
    """One place of a ranking; index is the item's place in the request."""

    item_id: Id
    index: int
    score: float


class ScoreResult(_Answer):
    """Probabilities per task, in the order of the request's item_ids.

    Attributes:
        generation: of the tasks: it rises with every graft, rollback and removal.
        degraded: where the histories came from when the feature store did not answer.
    """

    request_id: str
    model: str
    generation: int
    scores: dict[str, list[float]]
    tasks: dict[str, Scored]
    ranking: list[Ranked] | None = None
    degraded: Degraded


class Accepted(_Answer):
    """How many events were stored."""

    accepted: int


class Task(_Answer):
    """One task; version is None where none is active."""

    name: str
    kind: str
    version: int | None = None
    versions: list[dict[str, Any]] = []


class Tasks(_Answer):
    """All tasks as of a generation."""

    generation: int
    tasks: list[Task]


class Schema(_Answer):
    """The feature schema: which fields, behaviours and ids the model takes."""

    fields: list[dict[str, Any]]
    behaviours: list[str]


class Health(_Answer):
    """Readiness, with its reasons."""

    status: str


class Worker(_Answer):
    """One worker process and what it has reached."""

    id: str
    state: str
    generation: int | None = None


class Workers(_Answer):
    """All worker processes of all hosts."""

    workers: list[Worker]


class Change(_Answer):
    """A change of the live tasks, and which workers made it."""

    name: str
    generation: int
    version: int | None = None
    workers: list[Worker] = []
    took_ms: float | None = None


class Graft(Change):
    """A graft; checks names what was checked and found."""

    checks: dict[str, Any] = {}


class History(_Answer):
    """What happened to a task, oldest first."""

    name: str
    history: list[dict[str, Any]]


class Failure(BaseModel):
    """Why a call was refused: the sentence, and what machines read.

    Attributes:
        code: names the kind of refusal, reason a refused prompt's failed check.
        details: what was found and expected.
    """

    code: str = ""
    message: str = ""
    reason: str = ""
    details: dict[str, Any] = {}


class FailureBody(BaseModel):
    """The whole body of a refusal."""

    error: Failure = Failure()
    request_id: str | None = None

    @classmethod
    def read(cls, body: bytes) -> FailureBody:
        """Empty for a body that is not the service's own: a proxy may have written it."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return cls()
