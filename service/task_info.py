"""A task as GET /v1/tasks shows it, its routing and its drift.

Snapshot --describe, describe_routing--> TaskInfo, RoutingInfo --describe_drift--> DriftInfo
            └--> UnknownTask
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from service.drift import NOTHING, Figures, Pair
from service.routing import Canary, Guard
from service.snapshot import Snapshot
from service.task_store import TaskState


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A head of the bundle or a grafted task.

    Attributes:
        version: the one that scores, 0 for a head, None if none does.
        parameters: a prompt's trained ones, a head's own.
        canary: the version that scores for some users instead.
    """

    name: str
    kind: Literal["head", "prompt"]
    version: int | None
    versions: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]
    parameters: int
    provenance: Mapping[str, Any] = field(default_factory=dict)
    canary: Canary | None = None


@dataclass(frozen=True, slots=True)
class RoutingInfo:
    """Which versions of a task see traffic; see Routing."""

    name: str
    generation: int
    stable: int | None
    canary: Canary | None
    shadow: int | None
    guard: Guard | None
    since: float


@dataclass(frozen=True, slots=True)
class VersionDrift:
    """One version against the stable one; see Figures."""

    version: int
    roles: Sequence[str]
    requests: int
    rows: int
    psi: float | None
    overlap: float | None


@dataclass(frozen=True, slots=True)
class DriftInfo:
    """All versions of a task that are compared."""

    name: str
    generation: int
    stable: int | None
    since: float
    versions: Sequence[VersionDrift]


def describe(snapshot: Snapshot, name: str) -> TaskInfo:
    """One task, or UnknownTask."""
    manifest = snapshot.model.manifest
    for head in manifest.tasks:
        if head.name == name:
            return TaskInfo(name, "head", 0, (), head.metrics, head.parameters, manifest.provenance)
    task = snapshot.wanted.task(name)
    versions = [asdict(version) for version in task.versions]
    live = snapshot.prompts.get(name)
    if live is None:
        return TaskInfo(name, "prompt", None, versions, {}, 0)
    header = live.header
    return TaskInfo(
        name,
        "prompt",
        live.version,
        versions,
        header.metrics,
        header.trained_parameters,
        header.provenance,
        task.routing.canary,
    )


def describe_routing(snapshot: Snapshot, name: str) -> RoutingInfo:
    """Which versions of a task see traffic, or UnknownTask."""
    head = TaskState(active=0, versions=())
    task = head if name in snapshot.heads else snapshot.wanted.task(name)
    stable, r = task.active, task.routing
    return RoutingInfo(name, snapshot.generation, stable, r.canary, r.shadow, r.guard, r.since)


def describe_drift(routing: RoutingInfo, figures: Mapping[Pair, Figures]) -> DriftInfo:
    """What is compared for a task; zeros where nothing was counted yet."""
    roles: dict[int, list[str]] = {}
    if routing.canary is not None:
        roles.setdefault(routing.canary.version, []).append("canary")
    if routing.shadow is not None:
        roles.setdefault(routing.shadow, []).append("shadow")
    name, versions = routing.name, []
    for version, its in roles.items():
        one = figures.get(Pair(name, version, routing.since), NOTHING)
        versions.append(VersionDrift(version, its, one.requests, one.rows, one.psi, one.overlap))
    return DriftInfo(name, routing.generation, routing.stable, routing.since, versions)
