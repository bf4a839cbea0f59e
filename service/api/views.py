"""What the task routes answer, and the refusal every route shares, as documented in OpenAPI.

TaskInfo, GraftReport, ... (any object with these attributes) --model_validate--> JSON
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class CanaryView(_View):
    """A version that answers a share of the users."""

    version: int
    percent: float


class GuardView(_View):
    """When the canary goes by itself."""

    max_psi: float | None
    min_overlap: float | None
    min_rows: int


class SharesView(_View):
    """Which versions see traffic beside the stable one."""

    canary: CanaryView | None
    shadow: int | None
    guard: GuardView | None
    since: float = Field(description="Unix seconds since when they are compared; 0 without any.")


class TaskView(_View):
    """One task: a head of the bundle (version 0, never changed) or a grafted prompt."""

    name: str
    kind: Literal["head", "prompt"]
    version: int | None = Field(description="The version that scores; null while none does.")
    versions: list[dict[str, Any]]
    metrics: dict[str, float]
    parameters: int
    provenance: dict[str, Any]
    canary: CanaryView | None = Field(
        default=None, description="The version that scores for some users instead."
    )


class TasksView(_View):
    """All tasks as of a generation."""

    generation: int
    tasks: list[TaskView]


class WorkerView(_View):
    """One worker process, and the generation it has reached."""

    id: str
    state: str
    generation: int | None = None
    reason: str = Field(default="", description="Why it is behind.")


class WorkersView(_View):
    """All workers that follow the task store."""

    generation: int
    workers: list[WorkerView]


class ChangeView(_View):
    """What a graft, rollback or removal did, and where it is done."""

    name: str
    version: int | None
    generation: int
    workers: list[WorkerView]
    checks: dict[str, Any] = {}
    took_ms: float


class RoutingView(SharesView):
    """All versions of a task that see traffic."""

    name: str
    generation: int
    stable: int | None


class RoutedView(SharesView, ChangeView):
    """What a change of routing did, and where it is done."""

    stable: int | None


class VersionDriftView(_View):
    """A version against the stable one, over all workers since both were routed."""

    version: int
    roles: list[Literal["canary", "shadow"]]
    requests: int
    rows: int
    psi: float | None = Field(description="Population stability index; null without rows.")
    overlap: float | None = Field(description="Agreement on the best items, 0 to 1.")


class DriftView(_View):
    """How far other versions are from the stable one."""

    name: str
    generation: int
    stable: int | None
    since: float
    versions: list[VersionDriftView]


class TaskCountsView(_View):
    """A task's requests by outcome, their seconds, and its rows."""

    requests: dict[str, int]
    seconds: float
    rows: int
    canary_rows: int


class LiveView(_View):
    """Counters of all workers of this service; rates are differences between two answers."""

    generation: int
    status: Literal["starting", "ready", "draining"]
    behind: str = Field(description="Why the worker asked does not follow the wanted tasks.")
    at: float = Field(description="Seconds of a clock of this host; only differences count.")
    workers: int
    in_flight: int
    requests: dict[str, int] = Field(description="Scoring requests by status class.")
    refusals: dict[str, int] = Field(description="Of scoring, by error code.")
    bounds: list[float] = Field(description="Upper ends of the latency classes, in seconds.")
    latency: list[int] = Field(description="Scoring requests per class; the last has no end.")
    tiers: dict[str, int] = Field(description="Answers by where their history came from.")
    store_faults: dict[str, int]
    tasks: dict[str, TaskCountsView]
    spread_bounds: list[float] = Field(description="Probabilities between the bins of spread.")
    spread: dict[str, dict[str, list[int]]] = Field(
        description="Task, version, rows per bin: of a few requests a second, since each start."
    )


class TokenView(_View):
    """The caller's token."""

    name: str
    scopes: list[str]
    expires_s: int | None = Field(description="Seconds since 1970; null for never.")


class BackboneView(_View):
    """The backbone that scores, the one that a rollback leads to, and one being made ready."""

    fingerprint: str
    model: str
    generation: int
    previous: str | None
    proposed: str | None


class BackboneChangeView(_View):
    """What an upgrade or its rollback did, and where it is done."""

    fingerprint: str
    model: str
    previous: str
    generation: int
    tasks: dict[str, int] = Field(description="The grafted tasks that score, and their versions.")
    ended: list[str] = Field(description="Tasks that scored before, and do no more.")
    workers: list[WorkerView]
    took_ms: float


class HistoryView(_View):
    """What happened to a task, oldest first: the newest page of it."""

    name: str
    history: list[dict[str, Any]]


class AuditView(_View):
    """What was done through the admin port, by whom, oldest first: the newest page of it."""

    audit: list[dict[str, Any]]


class ErrorView(_View):
    """Why a request was refused."""

    code: str = Field(description="Names the kind of refusal.")
    message: str = Field(description="What was given, what was expected, what to do.")
    where: str | None = Field(default=None, description="The path to the refused value.")
    reason: str | None = Field(default=None, description="The failed check of a refused prompt.")
    details: dict[str, Any] | None = Field(default=None, description="What was found, expected.")


class Refusal(_View):
    """The body of every answer from 400 up."""

    error: ErrorView
    request_id: str


REFUSALS: dict[int, str] = {
    400: "The body is not what its type says.",
    401: "No known token.",
    403: "The token lacks the scope.",
    404: "No such task, version, backbone or path.",
    405: "The path takes other methods; see Allow.",
    409: "The prompt belongs to another backbone, the name is taken, or live tasks would end.",
    413: "More than a stated limit.",
    415: "The body's type or encoding is not read here.",
    422: "A field's value cannot be; see where. A prompt failed a check; see reason.",
    429: "Too much in flight, or too many failed logins; come back after Retry-After.",
    503: "Not ready, or a store does not answer; come back after Retry-After.",
    504: "The deadline passed.",
}


def json_body(schema: str, *, required: bool = True) -> dict[str, Any]:
    """The `requestBody` of a route that reads its body itself."""
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {"required": required, "content": {"application/json": content}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can refuse in these ways."""
    return {s: {"model": Refusal, "description": REFUSALS[s]} for s in statuses}
