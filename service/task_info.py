"""A task as GET /v1/tasks shows it.

Snapshot --describe--> TaskInfo | UnknownTask
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from service.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A head of the bundle or a grafted task.

    Attributes:
        version: the one that scores, 0 for a head, None if none does.
        parameters: a prompt's trained ones, a head's own.
    """

    name: str
    kind: Literal["head", "prompt"]
    version: int | None
    versions: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]
    parameters: int
    provenance: Mapping[str, Any] = field(default_factory=dict)


def describe(snapshot: Snapshot, name: str) -> TaskInfo:
    """One task, or UnknownTask."""
    manifest = snapshot.model.manifest
    for head in manifest.tasks:
        if head.name == name:
            return TaskInfo(name, "head", 0, (), head.metrics, head.parameters, manifest.provenance)
    versions = [asdict(version) for version in snapshot.wanted.task(name).versions]
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
    )
