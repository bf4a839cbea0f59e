"""Stage 1: a backbone from logs.

    TrainConfig, Prepared --fit--> run_dir/backbone/ (training/checkpoint.py) and FitResult
                                   run_dir/state.safetensors, from which a killed run is resumed

Only tasks with new = false are learned. A loss that is not finite ends the run (TrainingError).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import Generator, Tensor, nn

from training.checkpoint import Checkpoint, CheckpointCard, write_checkpoint
from training.config import FitConfig, TrainConfig
from training.dataset import Dataset, Prepared
from training.environment import (
    COLLAPSE_SHARE,
    assign_environments,
    collapsed,
    environment_counts,
    grl_alpha,
    random_environments,
)
from training.errors import ConfigError, TrainingError
from training.esmm import check_funnel
from training.evaluate import chunks, evaluate, predict
from training.inputs import Batch
from training.losses import LossParts, row_losses, total_loss
from training.metrics import Resampling
from training.model import build_model
from training.progress import SILENT, EpochRecord, Progress
from training.run_state import RunState, run_id

TERMS = ("shared", "environment", "hinge", "l2", "total")
STATE, BACKBONE = "state.safetensors", "backbone"


@dataclass(frozen=True, slots=True)
class FitResult:
    """A finished run. rows_per_s counts training rows, without validation."""

    checkpoint: Checkpoint
    path: Path
    best_epoch: int
    epochs: int
    seconds: float
    rows_per_s: float


def fit(
    config: TrainConfig,
    prepared: Prepared,
    *,
    run_dir: Path,
    progress: Progress = SILENT,
    resume: bool = False,
) -> FitResult:
    """Train a backbone, keep the weights of its best epoch and write them to run_dir/backbone.

    Raises:
        ConfigError: no task to learn, or an unknown one to stop on.
        CheckpointError: resume, and the state belongs to another run.
        DataError: an esmm model, and the second task is not contained in the first.
        TrainingError: the loss is no longer finite.
    """
    tasks = _old_tasks(config)
    run_dir.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=()):  # one seed, and the caller's own stream untouched
        run = _Run(config, prepared, tasks, progress)
        identity = run_id(config, len(prepared.train), prepared.schema.digest())
        if resume and (run_dir / STATE).exists():
            run.state.load(run_dir / STATE, identity)
        progress.stage("fit", config.fit.epochs * run.steps_per_epoch)
        while not run.done:
            run.next_epoch()
            run.state.save(run_dir / STATE, identity)
    return _finish(run, run_dir)


def _old_tasks(config: TrainConfig) -> tuple[str, ...]:
    tasks = tuple(task.name for task in config.tasks if not task.new)
    if not tasks:
        raise ConfigError("every task is new = true; a backbone needs at least one old task")
    if config.fit.early_stop not in ("sum", *tasks):
        raise ConfigError(
            f"fit.early_stop is {config.fit.early_stop!r}; expected 'sum' or one of {list(tasks)}"
        )
    return tasks


def _task_weights(config: TrainConfig, tasks: tuple[str, ...]) -> Tensor:
    weight = {task.name: task.weight for task in config.tasks}
    return torch.tensor([weight[task] for task in tasks])


class _Run:
    """One run of stage 1: what stays (data, settings) and, in state, what moves."""

    def __init__(
        self, config: TrainConfig, prepared: Prepared, tasks: tuple[str, ...], progress: Progress
    ) -> None:
        self.config, self.fit, self.gan = config, config.fit, config.model.gan
        self.prepared, self.tasks, self.progress = prepared, tasks, progress
        self.steps_per_epoch = -(-len(prepared.train) // self.fit.batch_size)
        torch.manual_seed(self.fit.seed)
        self.model = build_model(config.model, prepared.schema, tasks)
        if config.model.mixer == "esmm":
            for dataset in (prepared.train, prepared.valid, prepared.test):
                columns = [dataset.tasks.index(task) for task in tasks]
                labels, mask = dataset.labels[:, columns], dataset.mask[:, columns]
                check_funnel(labels, mask, force=config.model.esmm_force)
        generator = Generator().manual_seed(self.fit.seed)
        self.weights = _task_weights(config, tasks)
        mpt = self.model.classifier is not None
        self.plays = mpt and max(self.gan.shared_weight, self.gan.environment_weight) > 0
        environment = None
        if self.plays and self.gan.environment_weight:
            environment = random_environments(len(prepared.train), len(tasks), generator)
        self.state = RunState(
            model=self.model,
            optimizer=torch.optim.Adam(
                self.model.parameters(), lr=self.fit.learning_rate, fused=True
            ),
            generator=generator,
            environment=environment,
        )

    @property
    def done(self) -> bool:
        state = self.state
        return state.epoch >= self.fit.epochs or state.waited >= self.fit.patience

    def next_epoch(self) -> None:
        state, started = self.state, perf_counter()
        state.epoch += 1
        losses = self._train()
        trained = perf_counter() - started
        self._reassign()
        auc, score = self._validate()
        best = state.keep_if_best(score)
        seconds = perf_counter() - started
        state.seconds += seconds
        counts: list[int] = []
        if state.environment is not None:
            counts = environment_counts(state.environment, len(self.tasks)).tolist()
        rate = len(self.prepared.train) / trained
        record = EpochRecord(state.epoch, seconds, rate, losses, auc, score, best, tuple(counts))
        state.history.append(record)
        self.progress.epoch(record)

    def _train(self) -> dict[str, float]:
        """One pass over the training rows; the mean losses by part."""
        model, state, train = self.model, self.state, self.prepared.train
        model.train()
        sums: dict[str, float] = {}
        order = epoch_order(train, self.fit, state.generator)
        for step, rows in enumerate(chunks(order, self.fit.batch_size)):
            batch = train.batch(rows, self.tasks)
            if self.fit.history_dropout:
                batch = drop_histories(batch, self.fit.history_dropout, state.generator)
            outputs = model(batch.inputs, alpha=self._alpha(step))
            own = None if state.environment is None else state.environment[batch.sample]
            parts = total_loss(model, outputs, batch, own, self.fit, self.weights)
            terms = self._finite_terms(parts, step)
            state.optimizer.zero_grad(set_to_none=True)
            parts.total.backward()  # type: ignore[no-untyped-call]  # torch's
            if self.fit.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), self.fit.clip_norm)
            state.optimizer.step()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value * len(rows)
            self.progress.step(terms["total"])
        return {name: value / len(train) for name, value in sums.items()}

    def _finite_terms(self, parts: LossParts, step: int) -> dict[str, float]:
        """The terms of one step; a task's own stands under "task:" and its name."""
        terms = (parts.shared, parts.environment, parts.hinge, parts.l2, parts.total)
        values = torch.cat([parts.task, torch.stack(terms)]).tolist()
        if not math.isfinite(values[-1]):
            raise TrainingError(
                f"the loss is {values[-1]} at epoch {self.state.epoch}, step {step + 1}; lower "
                "fit.learning_rate or set fit.clip_norm, and look for outliers in dense columns"
            )
        return dict(zip((*(f"task:{task}" for task in self.tasks), *TERMS), values, strict=True))

    def _alpha(self, step: int) -> float | None:
        """Strength of the gradient reversal at a step (from 0) of this epoch; None without game."""
        if not self.plays:
            return None
        batches, fit = self.steps_per_epoch, self.fit
        return grl_alpha(
            self.gan.grl_ramp,
            (self.state.epoch - 1) * batches + step,
            batches=batches,
            epochs=fit.epochs,
            batch_size=fit.batch_size,
        )

    def _reassign(self) -> None:
        """Every env_interval epochs each row's environment becomes the task it is easiest for."""
        state, gan = self.state, self.gan
        if state.environment is None or state.epoch % gan.env_interval:
            return
        train = self.prepared.train
        found = predict(self.model, train, self.tasks, shared=gan.env_source == "shared")
        logits = found.logits if found.shared_logits is None else found.shared_logits
        columns = [train.tasks.index(task) for task in self.tasks]
        labels, mask = train.labels[:, columns], train.mask[:, columns]
        losses = row_losses(logits, labels)
        state.environment = assign_environments(losses, gan.env_normalise, mask)
        counts = environment_counts(state.environment, len(self.tasks))
        if collapsed(counts):
            rows = dict(zip(self.tasks, counts.tolist(), strict=True))
            self.progress.warn(
                f"epoch {state.epoch}: one environment holds over {COLLAPSE_SHARE:.0%} of the rows "
                f"({rows}); set model.gan.env_normalise = 'rank'"
            )

    def _validate(self) -> tuple[dict[str, float | None], float]:
        """Validation AUC per task, and what early stopping looks at."""
        measured = evaluate(self.model, self.prepared.valid, self.tasks)
        auc = {task: metrics.auc for task, metrics in measured.items()}
        watched = self.tasks if self.fit.early_stop == "sum" else (self.fit.early_stop,)
        return auc, sum(auc[task] or 0.0 for task in watched)


def epoch_order(train: Dataset, fit: FitConfig, generator: Generator) -> Tensor:
    """Row numbers (R,) in the order of one epoch."""
    rows = len(train)
    if fit.shuffle == "off":
        return torch.arange(rows)
    if fit.shuffle == "rows":
        return torch.randperm(rows, generator=generator)
    _, request = torch.unique(train.requests, return_inverse=True)
    place = torch.randperm(int(request.max()) + 1, generator=generator)
    return torch.argsort(place[request], stable=True)


def drop_histories(batch: Batch, rate: float, generator: Generator) -> Batch:
    """Some users without any history, as when the feature cache is away (training only)."""
    history = batch.inputs.history  # (U, M, L, A)
    gone = torch.rand(len(history), generator=generator) < rate
    kept = history.masked_fill(gone[:, None, None, None], 0)
    return replace(batch, inputs=replace(batch.inputs, history=kept))


def _finish(run: _Run, run_dir: Path) -> FitResult:
    """Best weights back, measured with intervals, written."""
    state, prepared, tasks = run.state, run.prepared, run.tasks
    if state.best is None:
        raise TrainingError("no epoch was better than none: the validation score is not a number")
    run.model.load_state_dict(state.best)
    run.model.eval()
    resampling = Resampling(seed=run.fit.seed)
    card = CheckpointCard(
        config=run.config,
        schema=prepared.schema,
        tasks=tasks,
        metrics={
            "valid": evaluate(run.model, prepared.valid, tasks, resampling),
            "test": evaluate(run.model, prepared.test, tasks, resampling),
        },
        seed=run.fit.seed,
        parameters=sum(p.numel() for p in run.model.parameters()),
        fingerprint="",
        history=tuple(state.history),
    )
    path = run_dir / BACKBONE
    checkpoint = write_checkpoint(path, Checkpoint(card, run.model, prepared.lookups))
    return FitResult(
        checkpoint=checkpoint,
        path=path,
        best_epoch=state.best_epoch,
        epochs=state.epoch,
        seconds=state.seconds,
        rows_per_s=sum(r.rows_per_s for r in state.history) / len(state.history),
    )
