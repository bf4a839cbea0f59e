"""A new task learned in every way at hand, side by side.

    Checkpoint, TrainConfig, Prepared, task --compare--> one Comparison per way

joint: a model of the same kind with the new task, from the start. single: a model of the new task
alone. head: the frozen backbone with a new tower on what all tasks share (Shared-Bottom*). prompt:
the prompt with each of its fusions; on a DTRN backbone also the one that conditions it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import torch
from torch import Tensor

from training.checkpoint import Checkpoint
from training.config import ModelConfig, Reads, TaskConfig, TrainConfig
from training.dataset import Prepared
from training.dtrn_prompt import DtrnPrompt, takes_dtrn_prompts
from training.evaluate import measure_tasks, predict
from training.fit import fit
from training.frozen import Examples, frozen_examples
from training.head import Head, SharedTower, fit_head
from training.metrics import Resampling, TaskMetrics, auc_difference_interval, measure
from training.progress import SILENT, EpochRecord, Progress
from training.prompt import PromptHead

FUSIONS = ("attention", "uniform", "similarity")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One way of learning the new task, measured on the test rows.

    Attributes:
        way: "joint", "single", "head", "prompt (fusion)" or "prompt (dtrn)".
        parameters: trained ones.
        seconds: of training, a prompt's cache of training and validation rows included.
        processor_s: the same in processor time, which other work on the machine does not stretch.
        against_joint: interval of AUC - AUC of joint on the same draws; None for joint itself.
        old_tasks: change of each old task's test AUC; exactly 0.0 where the backbone is frozen,
            empty where no old task is served.
    """

    way: str
    metrics: TaskMetrics
    parameters: int
    seconds: float
    processor_s: float
    against_joint: tuple[float, float] | None
    old_tasks: dict[str, float | None]


def compare(
    checkpoint: Checkpoint,
    config: TrainConfig,
    prepared: Prepared,
    task: TaskConfig,
    *,
    run_dir: Path,
    progress: Progress = SILENT,
) -> list[Comparison]:
    """Learn the task in every way; joint and single leave their runs under run_dir.

    config says how to train (its fit, model and tune sections); raises what fit and tune raise.
    """
    bench = _Bench(checkpoint, config, prepared, task, run_dir)
    joint = bench.joint(progress)
    found = [joint, bench.single(progress), *bench.frozen(progress)]
    return [bench.judge(way, joint) for way in found]


@dataclass(frozen=True, slots=True)
class _Way:
    name: str
    logits: Tensor  # (n,), on the labelled test rows
    parameters: int
    spent: _Time
    old_logits: Tensor | None  # (R, T), of the old tasks on all test rows


class _Time(NamedTuple):
    """A moment or a span, on the wall and of this process."""

    wall_s: float
    processor_s: float

    @classmethod
    def now(cls) -> _Time:
        return cls(perf_counter(), process_time())

    @classmethod
    def since(cls, then: _Time, before: _Time | None = None) -> _Time:
        """From then on, and what was spent before."""
        now, more = cls.now(), before or cls(0.0, 0.0)
        return cls(*(n - t + m for n, t, m in zip(now, then, more, strict=True)))


class _Seen(NamedTuple):
    """The new task's rows as a head reads them, and what those it learns from cost."""

    splits: Mapping[str, Examples]
    spent: _Time


class _Clock:
    """Passes progress on, and knows the span from the stage's begin to its latest epoch's end."""

    def __init__(self, watcher: Progress) -> None:
        self._watcher = watcher
        self._started = _Time.now()
        self.spent = _Time(0.0, 0.0)

    def stage(self, name: str, steps: int) -> None:
        self._started = _Time.now()
        self._watcher.stage(name, steps)

    def step(self, loss: float) -> None:
        self._watcher.step(loss)

    def epoch(self, record: EpochRecord) -> None:
        self.spent = _Time.since(self._started)
        self._watcher.epoch(record)

    def warn(self, message: str) -> None:
        self._watcher.warn(message)


@dataclass(frozen=True, slots=True)
class _Bench:
    checkpoint: Checkpoint
    config: TrainConfig
    prepared: Prepared
    task: TaskConfig
    run_dir: Path

    @property
    def old(self) -> tuple[str, ...]:
        return self.checkpoint.card.tasks

    @property
    def rows(self) -> Tensor:
        test = self.prepared.test
        known: Tensor = test.mask[:, test.tasks.index(self.task.name)]
        return known.nonzero().squeeze(1)

    def joint(self, progress: Progress) -> _Way:
        settings = {task.name: task for task in self.config.tasks}
        tasks = (*(settings[name] for name in self.old), self._learned)
        return self._fitted("joint", self.config.model, tasks, progress)

    def single(self, progress: Progress) -> _Way:
        model = self.config.model.model_copy(update={"bottom": "shared", "mixer": "shared_bottom"})
        return self._fitted("single", model, (self._learned,), progress)

    def frozen(self, progress: Progress) -> list[_Way]:
        """Heads on the frozen backbone; each is charged for the cache it reads."""
        model, tune = self.checkpoint.model, self.config.tune
        cached = self._examples("all")
        ways = [self._headed("head", cached, self._tower, progress)]
        for fusion in (*FUSIONS, *(("own",) if tune.expert_units else ())):
            prompt = tune.model_copy(update={"fusion": fusion, "dtrn": False})
            examples = cached if prompt.reads == "all" else self._examples(prompt.reads)
            make = partial(PromptHead, prompt, model.prompt_shape(), model.mixer.keys)
            ways.append(self._headed(f"prompt ({fusion})", examples, make, progress))
        if takes_dtrn_prompts(model) and not tune.item_weights:
            make_dtrn = partial(DtrnPrompt, tune, model)
            live = self._examples("events")
            ways.append(self._headed("prompt (dtrn)", live, make_dtrn, progress))
        return ways

    def _examples(self, reads: Reads) -> _Seen:
        seen = partial(frozen_examples, self.checkpoint, self.prepared, self.task.name, reads=reads)
        started = _Time.now()
        learned = seen(("train", "valid"))
        spent = _Time.since(started)
        return _Seen(learned | seen(("test",)), spent)

    @property
    def _learned(self) -> TaskConfig:
        return self.task.model_copy(update={"new": False})

    def _tower(self) -> SharedTower:
        units = self.checkpoint.card.config.model.tower_units
        return SharedTower(self.checkpoint.model.mixer.width, units)

    def _fitted(
        self, name: str, model: ModelConfig, tasks: tuple[TaskConfig, ...], progress: Progress
    ) -> _Way:
        stop = self.config.fit.model_copy(update={"early_stop": "sum"})
        config = self.config.model_copy(update={"model": model, "tasks": tasks, "fit": stop})
        clock = _Clock(progress)
        result = fit(config, self.prepared, run_dir=self.run_dir / name, progress=clock)
        learned = result.checkpoint
        logits = predict(learned.model, self.prepared.test, learned.card.tasks).logits
        old = logits[:, :-1] if len(tasks) > 1 else None
        return _Way(name, logits[self.rows, -1], learned.card.parameters, clock.spent, old)

    def _headed(
        self,
        name: str,
        seen: _Seen,
        make: Callable[[], Head],
        progress: Progress,
    ) -> _Way:
        started = _Time.now()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.config.tune.seed)
            head = make()
            fit_head(head, seen.splits, self.task.name, self.config.tune, progress)
        spent = _Time.since(started, seen.spent)
        parameters = sum(p.numel() for p in head.parameters() if p.requires_grad)
        old = predict(self.checkpoint.model, self.prepared.test, self.old).logits
        logits = seen.splits["test"].logits(head)
        return _Way(name, logits, parameters, spent, old)

    def judge(self, way: _Way, joint: _Way) -> Comparison:
        test, rows = self.prepared.test, self.rows
        column = test.tasks.index(self.task.name)
        labels, users = test.labels[rows, column].numpy(), test.users[rows].numpy()
        scores = way.logits.double().sigmoid().numpy()
        against = None
        if way is not joint:
            pair = (way.logits.numpy(), joint.logits.numpy())
            against = auc_difference_interval(labels, pair, users, Resampling())
        return Comparison(
            way=way.name,
            metrics=measure(labels, scores, users=users, resampling=Resampling()),
            parameters=way.parameters,
            seconds=way.spent.wall_s,
            processor_s=way.spent.processor_s,
            against_joint=against,
            old_tasks={} if way.old_logits is None else self._moved(way.old_logits),
        )

    def _moved(self, logits: Tensor) -> dict[str, float | None]:
        """Change of each old task's AUC from the backbone's, which its checkpoint holds."""
        now = measure_tasks(logits, self.prepared.test, self.old)
        before = self.checkpoint.card.metrics["test"]
        return {task: _difference(now[task].auc, before[task].auc) for task in self.old}


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before
