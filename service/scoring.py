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

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.engine import Cancellation, Scored
from service.engine_pool import EnginePool
from service.errors import DeadlineExceeded, InvalidField, TooLarge, UnknownTask
from service.feature_ladder import FeatureLadder
from service.features import UserFeatures
from service.messages import Degraded, Rank, ScoreRequest
from service.metrics import Metrics
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


class Asked(msgspec.Struct, frozen=True):  # made in C: half the price of a dataclass
    """A request that is understood: what scores it, and until when.

    Attributes:
        until: on the monotonic clock.
        work: how much there is to run, in the unit of the pool.
    """

    request: ScoreRequest
    snapshot: Snapshot
    names: Sequence[str]
    heads: Sequence[str]
    prompts: Sequence[str]
    plan: Plan
    budget_s: float
    until: float
    work: int

    def late(self) -> DeadlineExceeded:
        """What its caller is told once its time is over."""
        return DeadlineExceeded(f"no answer within {self.budget_s * 1000:.0f} ms")


class ScoreResult(msgspec.Struct, frozen=True):
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
    """Scores requests, each on the model of the snapshot that it took.

    score is the whole way. Its steps may be taken one by one: understand, fetch or features, call,
    the call's run in the pool, answer.
    """

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
        self.pool = pool
        self._features = features
        self._metrics = metrics
        self._limits = limits
        self._recent = recent
        self.at_once = features.at_once

    async def score(self, request: ScoreRequest) -> ScoreResult:
        """Score one user's candidates for all asked tasks.

        Raises:
            InvalidField: a field, behaviour or value that is not this model's.
            UnknownTask: tasks or weights name a task that is not live.
            TooLarge: more live tasks than are scored unasked.
            DeadlineExceeded: the request's time is over.
        """
        with self._metrics.scoring() as counted:
            asked = self.understand(request)
            counted.tasks = asked.names
            try:
                with self._metrics.stage("features"):
                    found = await self.fetch(asked)
                with self._metrics.stage("encode"):
                    call = self.call(asked, found[0])
                with self._metrics.stage("run"):
                    scored = await self.pool.run(call, asked.work, asked.until)
            except TimeoutError as err:
                raise asked.late() from err
            return self.answer(asked, scored, found[1])

    def understand(self, request: ScoreRequest) -> Asked:
        """Take the snapshot, and find in it what is asked for.

        Raises:
            UnknownTask, TooLarge, InvalidField: as score.
        """
        budget_s = self._limits.default_deadline_s
        if request.deadline_s is not None:
            budget_s = min(request.deadline_s, self._limits.max_deadline_s)
        until = time.monotonic() + budget_s
        snapshot = self._registry.snapshot
        names = self._tasks(request, snapshot)
        heads, prompts = snapshot.divide(names)
        plan = Plan.of(snapshot, prompts, str(request.user_id))
        work = len(request.item_ids) * (_BACKBONE_WORK + len(plan.residents))
        return Asked(request, snapshot, names, heads, prompts, plan, budget_s, until, work)

    async def fetch(self, asked: Asked) -> tuple[UserFeatures, Degraded]:
        """What is known of the user, within the time the request can spare."""
        request, within_s = asked.request, asked.budget_s * _FEATURE_SHARE
        return await self._features.read(str(request.user_id), self._items(request), within_s)

    def features(self, asked: Asked) -> tuple[UserFeatures, Degraded]:
        """The same without a wait; only where at_once is true."""
        request = asked.request
        return self._features.read_now(str(request.user_id), self._items(request))

    def call(self, asked: Asked, features: UserFeatures) -> Callable[[Cancellation], Scored]:
        """The run of the graphs; raises InvalidField."""
        model = asked.snapshot.model
        arrays = model.encoder.encode(asked.request, features)
        self._recent.add(asked.request, features)
        slots = [resident.slot for resident in asked.plan.residents]
        bank = model.bank.select(slots) if slots else None
        return partial(model.engine.answer, arrays, asked.heads, bank)

    def answer(self, asked: Asked, scored: Scored, degraded: Degraded) -> ScoreResult:
        """What the run says, as it was asked; counted, and noted for whoever watches scores."""
        request, plan, names = asked.request, asked.plan, asked.names
        columns = {name: scored.prompts[:, at] for at, name in enumerate(asked.prompts)}
        columns |= scored.heads
        scores = {name: columns[name] for name in names}
        ranking = None if request.rank is None else _rank(request, request.rank, scores)
        if degraded == "no_history" and request.history:
            degraded = "client_history"
        self._metrics.scored(names, len(request.item_ids), degraded)
        if plan.compared:
            self._compare(plan, scored)
        if self._metrics.spread.due():
            self._look(plan, scored)
        answering = plan.versions(asked.prompts)
        versions = {name: answering.get(name, 0) for name in names}
        snapshot = asked.snapshot
        return ScoreResult(
            snapshot.model.id, snapshot.generation, scores, versions, ranking, degraded
        )

    def _items(self, request: ScoreRequest) -> Sequence[str]:
        """Those whose overrides are looked for."""
        return [str(i) for i in request.item_ids] if self._limits.item_overrides else ()

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
