"""A score request, start to end: the page to read.

    ScoreRequest --> one Snapshot --> features within budget --> arrays --> engine --> ScoreResult

The snapshot is taken once, so two tasks of one answer come from one world, and a task removed
meanwhile still answers. Errors rise untouched; api/errors.py gives them their status.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.encoder import Arrays
from service.engine import Cancellation, Scored
from service.engine_pool import EnginePool
from service.errors import DeadlineExceeded, InvalidField, TooLarge, UnknownTask
from service.feature_ladder import FeatureLadder
from service.features import UserFeatures
from service.messages import Degraded, Rank, ScoreRequest
from service.metrics import Metrics, Scoring
from service.model import Model
from service.plan import Plan
from service.registry import TaskRegistry
from service.snapshot import Snapshot
from service.warm_up import Recent

# The most of a request's time that goes to the feature store; the rest is for scoring without.
_FEATURE_SHARE = 0.5
# What a row costs beyond its prompts, in prompts: only the proportion counts.
_BACKBONE_WORK = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    max_tasks_by_default: int
    default_deadline_s: float
    max_deadline_s: float
    item_overrides: bool


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """One answer.

    Attributes:
        scores: task -> (N,) probabilities in the order of item_ids.
        versions: task -> the version that scored; 0 for a pre-trained head.
        degraded: where the histories came from when the feature store did not answer.
    """

    model: str
    generation: int
    scores: dict[str, NDArray[np.float32]]
    versions: dict[str, int]
    ranking: list[dict[str, Any]] | None
    degraded: Degraded


class Scorer:
    """Scores requests, each on the model of the snapshot that it took."""

    def __init__(
        self,
        registry: TaskRegistry,
        pool: EnginePool,
        features: FeatureLadder,
        metrics: Metrics,
        limits: Limits,
        recent: Recent,
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._features = features
        self._metrics = metrics
        self._limits = limits
        self._recent = recent

    async def score(self, request: ScoreRequest) -> ScoreResult:
        """Score one user's candidates for all asked tasks.

        Raises:
            InvalidField: a field, behaviour or value that is not this model's.
            UnknownTask: tasks or weights name a task that is not live.
            TooLarge: more live tasks than are scored unasked.
            DeadlineExceeded: the request's time is over.
        """
        budget_s = self._limits.default_deadline_s
        if request.deadline_ms is not None:
            budget_s = min(request.deadline_ms / 1000, self._limits.max_deadline_s)
        with self._metrics.scoring() as counted:
            try:
                return await self._score(request, budget_s, counted)
            except TimeoutError as err:
                raise DeadlineExceeded(f"no answer within {budget_s * 1000:.0f} ms") from err

    async def _score(self, request: ScoreRequest, budget_s: float, counted: Scoring) -> ScoreResult:
        until = time.monotonic() + budget_s
        snapshot = self._registry.snapshot
        names = counted.tasks = self._tasks(request, snapshot)
        with self._metrics.stage("features"):
            features, degraded = await self._fetch(request, budget_s * _FEATURE_SHARE)
        with self._metrics.stage("encode"):
            arrays = snapshot.model.encoder.encode(request, features)
        self._recent.add(request, features)
        heads, prompts = snapshot.divide(names)
        plan = Plan.of(snapshot, prompts, str(request.user_id))
        with self._metrics.stage("run"):
            call = _call(snapshot.model, arrays, heads, plan)
            scored = await self._pool.run(call, _work(arrays, plan), until)
        columns = {name: scored.prompts[:, at] for at, name in enumerate(prompts)} | scored.heads
        scores = {name: columns[name] for name in names}
        ranking = None if request.rank is None else _rank(request, request.rank, scores)
        self._metrics.scored(names, len(request.item_ids), degraded)
        if plan.compared:
            self._compare(plan, scored)
        if self._metrics.spread.due():
            self._look(plan, scored)
        answering = plan.versions(prompts)
        versions = {name: answering.get(name, 0) for name in names}
        return ScoreResult(
            snapshot.model.id, snapshot.generation, scores, versions, ranking, degraded
        )

    def _compare(self, plan: Plan, scored: Scored) -> None:
        """Count once the answer is out; an error in there is a line in the log, and no more."""
        self._metrics.canaries_scored(plan.canaries, len(scored.prompts))
        observe = self._registry.drift.observe
        asyncio.get_running_loop().call_soon(observe, plan.compared, scored.prompts)

    def _look(self, plan: Plan, scored: Scored) -> None:
        """See how these scores are spread, once the answer is out."""
        columns = {(name, 0): column for name, column in scored.heads.items()}
        for at, one in enumerate(plan.residents):
            columns[one.header.task, one.version] = scored.prompts[:, at]
        asyncio.get_running_loop().call_soon(self._metrics.spread.observe, columns)

    def _tasks(self, request: ScoreRequest, snapshot: Snapshot) -> Sequence[str]:
        live = snapshot.names
        if request.tasks is None:
            if len(live) > self._limits.max_tasks_by_default:
                raise TooLarge(
                    f"{len(live)} tasks are live; name the ones to score in tasks "
                    f"(at most {self._limits.max_tasks_by_default} are scored unasked)"
                )
            names: Sequence[str] = live
        else:
            names = request.tasks
        if unknown := [name for name in names if name not in snapshot]:
            raise UnknownTask(unknown)
        if request.rank is not None:
            # dict keeps the caller's order, for the message
            if unknown := [name for name in request.rank.weights if name not in snapshot]:
                raise UnknownTask(unknown)
            if absent := [name for name in request.rank.weights if name not in names]:
                raise InvalidField("rank.weights", f"{', '.join(absent)} is not among tasks")
        return names

    async def _fetch(self, request: ScoreRequest, within_s: float) -> tuple[UserFeatures, Degraded]:
        items = [str(i) for i in request.item_ids] if self._limits.item_overrides else ()
        features, step = await self._features.read(str(request.user_id), items, within_s)
        if step == "no_history" and request.history:
            step = "client_history"
        return features, step


def _call(
    model: Model, arrays: Arrays, heads: Sequence[str], plan: Plan
) -> Callable[[Cancellation], Scored]:
    slots = [resident.slot for resident in plan.residents]
    bank = model.bank.select(slots) if slots else None
    return partial(model.engine.answer, arrays, heads, bank)


def _work(arrays: Arrays, plan: Plan) -> int:
    return len(arrays["row_user"]) * (_BACKBONE_WORK + len(plan.residents))


def _rank(
    request: ScoreRequest, rank: Rank, scores: dict[str, NDArray[np.float32]]
) -> list[dict[str, Any]]:
    """Items by falling weighted sum of their scores; equal sums keep the request's order."""
    total = np.zeros(len(request.item_ids), dtype=np.float64)
    for name, weight in rank.weights.items():
        total += weight * scores[name]
    order = np.argsort(-total, kind="stable")[: rank.top_k]
    return [
        {"item_id": request.item_ids[at], "index": int(at), "score": float(total[at])}
        for at in order
    ]
