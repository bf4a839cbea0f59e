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

    request_id: str
    accepted: int


class Task(_Answer):
    """One task: a head of the bundle (version 0, never changed) or a grafted prompt.

    Attributes:
        version: the one that scores; None while none does.
        metrics: test figures as they were when it was trained.
        parameters: how many were trained for it.
        canary: the version that scores for some users instead.
    """

    name: str
    kind: Literal["head", "prompt"]
    version: int | None
    versions: list[dict[str, Any]]
    metrics: dict[str, float]
    parameters: int
    provenance: dict[str, Any]
    canary: Canary | None = None


class Tasks(_Answer):
    """All tasks as of a generation."""

    generation: int
    tasks: list[Task]


class Schema(_Answer):
    """Which fields, behaviours and ids the model takes."""

    user_id_type: Literal["int64", "string"]
    item_id_type: Literal["int64", "string"]
    fields: list[dict[str, Any]]
    behaviours: list[str]
    history_length: int


class Readiness(_Answer):
    """Whether the answering worker takes traffic, and the generation it serves."""

    status: str
    generation: int


class Worker(_Answer):
    """One worker process and the generation it has reached."""

    id: str
    state: str
    generation: int | None = None


class Workers(_Answer):
    """All workers of all hosts."""

    generation: int
    workers: list[Worker]


class Change(_Answer):
    """What a graft, rollback or removal did, and where it is done.

    Attributes:
        version: the one that scores now; None where none does.
        checks: what a graft's checks found.
        took_ms: from the whole body to the answer.
    """

    name: str
    version: int | None
    generation: int
    workers: list[Worker]
    checks: dict[str, Any] = {}
    took_ms: float


class Canary(_Answer):
    """A version that answers a share of the users."""

    version: int
    percent: float


class Guard(_Answer):
    """When the canary goes by itself."""

    max_psi: float | None
    min_overlap: float | None
    min_rows: int


class _Shares(_Answer):
    stable: int | None
    canary: Canary | None
    shadow: int | None
    guard: Guard | None
    since: float


class Routing(_Shares):
    """Which versions of a task see traffic; since when they are compared, in Unix seconds."""

    name: str
    generation: int


class Routed(_Shares, Change):
    """What a change of routing did, and where it is done."""


class VersionDrift(_Answer):
    """A version against the stable one, on the rows that both scored.

    Attributes:
        psi: population stability index of its scores; None without rows.
        overlap: share of the best items that both agree on; None where there was nothing to rank.
    """

    version: int
    roles: list[str]
    requests: int
    rows: int
    psi: float | None
    overlap: float | None


class Drift(_Answer):
    """How far canary and shadow are from the stable version, counted by all workers."""

    name: str
    generation: int
    stable: int | None
    since: float
    versions: list[VersionDrift]


class Backbone(_Answer):
    """The backbone that scores, the one a rollback leads to, and one being made ready."""

    fingerprint: str
    model: str
    generation: int
    previous: str | None
    proposed: str | None


class BackboneChange(_Answer):
    """What an upgrade of the backbone or its rollback did, and where it is done.

    Attributes:
        tasks: the grafted tasks that score now, and their versions.
        ended: tasks that scored before, and do no more.
    """

    fingerprint: str
    model: str
    previous: str
    generation: int
    tasks: dict[str, int]
    ended: list[str]
    workers: list[Worker]
    took_ms: float


class History(_Answer):
    """What happened to a task, oldest first."""

    name: str
    history: list[dict[str, Any]]


class Audit(_Answer):
    """What was done through the admin port and by whom, oldest first."""

    audit: list[dict[str, Any]]


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
