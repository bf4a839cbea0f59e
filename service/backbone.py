"""Which backbone every worker shall score on: a part of the desired state.

BundleRef --Upgrade (proposed)--> every worker holds it ready --> live; the one before is Left
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BundleRef:
    """A bundle by what is in it: two with equal references score alike.

    Attributes:
        fingerprint: of the backbone; a prompt names the one that it was tuned on.
        manifest: digest of the manifest, and so of every file.
    """

    fingerprint: str
    manifest: str

    def __str__(self) -> str:
        return self.fingerprint[:12]


@dataclass(frozen=True, slots=True)
class Left:
    """What was live before the last upgrade, to go back to: each task's version that scored."""

    bundle: BundleRef
    active: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A backbone that every worker shall hold ready, to score once all of them do.

    Attributes:
        key: tells proposals apart.
        proposer: the worker that waits for the others.
        bundle: what is to score; origin is what scores until then.
        heads: the bundle's pre-trained tasks.
        drop: tasks that may end with it.
        at: Unix seconds of the proposal; void after until, when its proposer must be gone.
        active: by task, the version that is to score.
        fresh: of those, the ones that the proposal brought: they go if it is withdrawn.
    """

    key: str
    proposer: str
    bundle: BundleRef
    origin: BundleRef
    heads: tuple[str, ...]
    drop: tuple[str, ...]
    at: float
    until: float
    active: Mapping[str, int] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WantedBackbone:
    """What an upgrade shall lead to.

    Attributes:
        fingerprint: of the backbone.
        prompts: by task, the digest of an uploaded prompt that was tuned on it.
        drop: tasks that may end with the upgrade.
        signatures: by task, of its prompt, where it has one.
    """

    fingerprint: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    drop: Sequence[str] = ()
    signatures: Mapping[str, str] = field(default_factory=dict)
