"""The service's parts without models, stores or files: what the routes can be tested against.

FakeScorer, FakeTasks and FakeEvents have the methods of service/api/ports.py and raise its errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import PromptMisfit
from contract.schema import (
    CategoricalField,
    DenseField,
    FeatureSchema,
    MultiValuedField,
    RawType,
    VocabularySpec,
)
from service.app import Parts
from service.backbone import WantedBackbone
from service.errors import (
    BundleMissing,
    InvalidField,
    StoreUnavailable,
    TaskConflict,
    UnknownTask,
)
from service.features import Event
from service.messages import ScoreRequest
from service.metrics import Metrics
from service.routing import Routing, Wanted
from service.settings import Settings

GOOD_PROMPT = b"good prompt"
OTHER_BACKBONE = "b" * 64


def example_schema(user_id: RawType = "int64", item_id: RawType = "int64") -> FeatureSchema:
    """One field of every kind and side; one is called by a Python keyword."""
    return FeatureSchema(
        vocabularies=(
            VocabularySpec(name="user", type=user_id, size=3),
            VocabularySpec(name="item", type=item_id, size=3),
            VocabularySpec(name="word", type="string", size=3),
            VocabularySpec(name="number", type="int64", size=3),
        ),
        fields=(
            CategoricalField(name="user_id", side="user", vocabulary="user"),
            DenseField(name="age", side="user", minimum=0, maximum=99),
            CategoricalField(name="class", side="context", vocabulary="word"),
            CategoricalField(name="hour", side="context", vocabulary="number"),
            CategoricalField(name="item_id", side="item", vocabulary="item"),
            MultiValuedField(name="tags", side="item", vocabulary="word", max_values=3),
            DenseField(name="distance", side="cross", minimum=0, maximum=9),
        ),
        behaviours=("view", "buy"),
        history_length=5,
        history_fields=("item_id",),
        user_id_type=user_id,
        item_id_type=item_id,
        user_id_field="user_id",
        item_id_field="item_id",
    )


@dataclass(frozen=True, slots=True)
class FakeAnswer:
    model: str
    generation: int
    scores: dict[str, NDArray[np.float32]]
    versions: dict[str, int]
    ranking: list[dict[str, Any]] | None
    degraded: str


@dataclass(frozen=True, slots=True)
class FakeTask:
    name: str
    kind: str
    version: int | None
    versions: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    parameters: int = 7
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FakeWorker:
    id: str
    state: str
    generation: int


@dataclass(frozen=True, slots=True)
class FakeChange:
    name: str
    version: int | None
    generation: int
    created: bool
    workers: list[FakeWorker]
    checks: dict[str, Any]
    took_ms: float
    routing: Routing = field(default_factory=Routing)


@dataclass(frozen=True, slots=True)
class FakeSnapshot:
    generation: int
    names: tuple[str, ...]


class FakeTasks:
    """Takes GOOD_PROMPT alone; one head, "click", stands from the beginning."""

    behind = ""

    def __init__(self, schema: FeatureSchema) -> None:
        self.schema = schema
        self._active: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._routing: dict[str, Routing] = {}
        self._audit: list[dict[str, Any]] = []

    @property
    def snapshot(self) -> FakeSnapshot:
        return FakeSnapshot(len(self._audit), ("click", *self._active))

    def tasks(self) -> Sequence[FakeTask]:
        return [self.task(name) for name in self.snapshot.names]

    def task(self, name: str) -> FakeTask:
        if name == "click":
            return FakeTask("click", "head", 0)
        self._known(name)
        return FakeTask(name, "prompt", self._active[name], [{"version": self._active[name]}])

    async def history(self, name: str, limit: int, before: int | None) -> list[dict[str, Any]]:
        self.task(name)
        return [e for e in await self.audit(10**6, before) if e["task"] == name][-limit:]

    async def audit(self, limit: int, before: int | None) -> list[dict[str, Any]]:
        return self._audit[: None if before is None else before - 1][-limit:]

    def routing(self, name: str) -> dict[str, Any]:
        version = self.task(name).version
        shares = asdict(self._routing.get(name, Routing()))
        return {"name": name, "generation": len(self._audit), "stable": version, **shares}

    async def drift(self, name: str) -> dict[str, Any]:
        return {**self.routing(name), "versions": []}

    async def workers(self) -> Sequence[FakeWorker]:
        return [FakeWorker("one", "active", len(self._audit))]

    async def graft(
        self,
        name: str,
        body: bytes,
        *,
        activate: bool,
        actor: str,
        wait: str = "all",
        signature: str = "",
    ) -> FakeChange:
        if name == "click":
            raise TaskConflict("click is a head of the bundle")
        if body == b"foreign":
            raise PromptMisfit("wrong_backbone", "made for another backbone", found="00ff")
        if body != GOOD_PROMPT:
            raise PromptMisfit("malformed", "no prompt file", found=body[:8].hex(), value=np.nan)
        created = name not in self._active
        self._last[name] = self._last.get(name, 0) + 1
        self._active[name] = self._last[name]
        return self._changed(name, "graft", actor, created=created)

    async def rollback(
        self, name: str, version: int | None, *, actor: str, wait: str = "all"
    ) -> FakeChange:
        self._known(name)
        wanted = self._active[name] - 1 if version is None else version
        if not 1 <= wanted <= self._last[name]:
            raise TaskConflict(f"task {name} has no version {wanted}")
        self._active[name] = wanted
        return self._changed(name, "rollback", actor)

    async def route(
        self, name: str, wanted: Wanted, *, actor: str, wait: str = "all"
    ) -> FakeChange:
        self._known(name)
        if any(not 1 <= version <= self._last[name] for version in wanted.routing.versions):
            raise TaskConflict(f"task {name} has no such version")
        self._active[name] = wanted.stable or self._active[name]
        self._routing[name] = wanted.routing
        return replace(self._changed(name, "route", actor), routing=wanted.routing)

    async def remove(self, name: str, *, actor: str) -> FakeChange:
        self._known(name)
        del self._active[name]
        return self._changed(name, "remove", actor)

    def _known(self, name: str) -> None:
        if name not in self._active:
            raise UnknownTask([name])

    def _changed(self, name: str, what: str, actor: str, *, created: bool = False) -> FakeChange:
        self._audit.append({"task": name, "action": what, "who": actor})
        version = self._active.get(name)
        return FakeChange(name, version, len(self._audit), created, [], {"finite": True}, 0.5)


class FakeBackbones:
    """Knows OTHER_BACKBONE alone, and takes GOOD_PROMPT alone."""

    def __init__(self) -> None:
        self.uploaded: list[str] = []
        self.wanted: WantedBackbone | None = None

    def backbone(self) -> dict[str, Any]:
        return {
            "fingerprint": "a" * 64,
            "model": "example",
            "generation": 0,
            "previous": None,
            "proposed": None,
        }

    async def put_prompt(self, sha256: str, body: bytes, signature: str = "") -> None:
        if body != GOOD_PROMPT:
            raise PromptMisfit("malformed", "no prompt file")
        self.uploaded.append(sha256)

    async def upgrade(self, wanted: WantedBackbone, actor: str) -> dict[str, Any]:
        if wanted.fingerprint != OTHER_BACKBONE:
            raise BundleMissing("no such bundle is on this host")
        self.wanted = wanted
        return self._changed()

    async def rollback(self, actor: str) -> dict[str, Any]:
        if self.wanted is None:
            raise TaskConflict("nothing was left")
        return self._changed()

    def _changed(self) -> dict[str, Any]:
        return (
            self.backbone()
            | {"tasks": {}, "ended": [], "workers": [], "took_ms": 1.0}
            | {"previous": OTHER_BACKBONE}
        )


class FakeScorer:
    """Scores every item 0.5 for every task; holds requests back while `held` is cleared."""

    def __init__(self, tasks: FakeTasks) -> None:
        self._tasks = tasks
        self.held = asyncio.Event()
        self.held.set()
        self.arrived = asyncio.Semaphore(0)
        self.failure: Exception | None = None
        self.seen: list[ScoreRequest] = []

    async def score(self, request: ScoreRequest) -> FakeAnswer:
        self.seen.append(request)
        self.arrived.release()
        await self.held.wait()
        if self.failure is not None:
            raise self.failure
        live = self._tasks.snapshot
        names = list(live.names) if request.tasks is None else request.tasks
        weights = {} if request.rank is None else request.rank.weights
        if unknown := [name for name in (*names, *weights) if name not in live.names]:
            raise UnknownTask(unknown)
        if any(name not in names for name in weights):
            raise InvalidField("rank.weights", "not among tasks")
        columns = np.full((len(request.item_ids), len(names)), 0.5, dtype=np.float32)
        ranking = None
        if request.rank is not None:
            ranking = [
                {"item_id": item, "score": 0.5, "index": at}
                for at, item in enumerate(request.item_ids)
            ][: request.rank.top_k]
        return FakeAnswer(
            model="example",
            generation=live.generation,
            scores={name: columns[:, at] for at, name in enumerate(names)},
            versions=dict.fromkeys(names, 0),
            ranking=ranking,
            degraded="none",
        )


class FakeEvents:
    """Keeps what it is given; unavailable while `down` is set."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.down = False

    async def append(self, events: Sequence[Event]) -> None:
        if self.down:
            raise StoreUnavailable("the feature store does not answer")
        self.kept += events


class FakeParts:
    """One set of fakes; `open` is what create_service takes. Starts once `started` is set."""

    def __init__(self, schema: FeatureSchema | None = None) -> None:
        self.schema = schema or example_schema()
        self.tasks = FakeTasks(self.schema)
        self.backbones = FakeBackbones()
        self.scorer = FakeScorer(self.tasks)
        self.events = FakeEvents()
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self.started = asyncio.Event()
        self.started.set()

    def open(self, settings: Settings, metrics: Metrics) -> Parts:
        return Parts(
            schema=self.schema,
            scorer=self.scorer,
            tasks=self.tasks,
            grafting=self.tasks,
            backbones=self.backbones,
            events=self.events,
            start=self._start,
            stop=self._stop,
        )

    async def _start(self) -> None:
        self.calls.append("start")
        await self.started.wait()
        if self.failure is not None:
            raise self.failure

    async def _stop(self) -> None:
        self.calls.append("stop")
