"""What the routes need from the service proper; the fakes of the tests have the same.

    routes --> Scores (scoring.py), Events, Tasks (task_catalog.py),
               Grafting (registry.py), Backbones (upgrades.py)

The errors are those of service/errors.py, and PromptMisfit of the contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract.schema import FeatureSchema
from service.backbone import WantedBackbone
from service.features import Event
from service.messages import ScoreRequest
from service.rollout import Wait
from service.routing import Wanted


class Answer(Protocol):
    """Scores, task -> (N,) in the order of item_ids, and the versions that gave them."""

    @property
    def model(self) -> str: ...
    @property
    def generation(self) -> int: ...
    @property
    def scores(self) -> Mapping[str, NDArray[np.float32]]: ...
    @property
    def versions(self) -> Mapping[str, int]: ...
    @property
    def ranking(self) -> list[dict[str, Any]] | None: ...
    @property
    def degraded(self) -> str: ...


class Scores(Protocol):
    """The use case behind POST /v1/score."""

    async def score(self, request: ScoreRequest) -> Answer: ...


class Events(Protocol):
    """The use case behind POST /v1/events."""

    async def append(self, events: Sequence[Event]) -> None: ...


class Live(Protocol):
    """The tasks at one moment."""

    @property
    def generation(self) -> int: ...
    @property
    def names(self) -> Sequence[str]: ...


class Change(Protocol):
    """What a change did; created tells whether the task is new."""

    @property
    def created(self) -> bool: ...


class Routed(Protocol):
    """What a change of routing did, and the routing it led to."""

    @property
    def routing(self) -> object: ...


class Tasks(Protocol):
    """Reading the live tasks. Objects returned have the fields of api/views.py."""

    @property
    def snapshot(self) -> Live: ...
    @property
    def schema(self) -> FeatureSchema: ...
    @property
    def behind(self) -> str: ...
    def tasks(self) -> Sequence[object]: ...
    def task(self, name: str) -> object: ...
    async def history(self, name: str, limit: int, before: int | None) -> Sequence[object]: ...
    async def audit(self, limit: int, before: int | None) -> Sequence[object]: ...
    def routing(self, name: str) -> object: ...
    async def drift(self, name: str) -> object: ...
    async def workers(self) -> Sequence[object]: ...


class Grafting(Protocol):
    """Changing the live tasks. Objects returned have the fields of api/views.py."""

    async def graft(
        self,
        name: str,
        body: bytes,
        *,
        activate: bool,
        actor: str,
        wait: Wait = "all",
        signature: str = "",
    ) -> Change: ...
    async def rollback(
        self, name: str, version: int | None, *, actor: str, wait: Wait = "all"
    ) -> object: ...
    async def route(
        self, name: str, wanted: Wanted, *, actor: str, wait: Wait = "all"
    ) -> Routed: ...
    async def remove(self, name: str, *, actor: str) -> object: ...


class Backbones(Protocol):
    """Changing the backbone. Objects returned have the fields of api/views.py."""

    def backbone(self) -> object: ...
    async def put_prompt(self, sha256: str, body: bytes, signature: str = "") -> None: ...
    async def upgrade(self, wanted: WantedBackbone, actor: str) -> object: ...
    async def rollback(self, actor: str) -> object: ...
