"""Stage 1: a backbone from logs.

    TrainConfig, Prepared --fit--> run_dir/backbone/ (training/checkpoint.py) and FitResult
                                   run_dir/state.safetensors, from which a killed run is resumed

Only tasks with new = false are learned. A loss that is not finite ends the run (TrainingError).
Several ranks learn what one would, from the same global batches; only the first reports and writes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Generator, Tensor, nn

from training.allocator import keep_freed_memory
from training.average import WeightAverage
from training.checkpoint import Checkpoint, CheckpointCard, Split, write_checkpoint
from training.config import TrainConfig
from training.dataset import Dataset, Prepared
from training.device import Device
from training.environment import (
    COLLAPSE_SHARE,
    assign_environments,
    collapsed,
    environment_counts,
    grl_alpha,
    random_environments,
)
from training.epoch import Pass, epoch_steps
from training.errors import ConfigError, TrainingError
from training.esmm import check_funnel
from training.evaluate import evaluate, predict
from training.inputs import Batch
from training.losses import LossParts, row_losses, total_loss
from training.metrics import Resampling
from training.model import build_model
from training.progress import SILENT, EpochRecord, Progress
from training.ranks import ALONE, Ranks
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
    ranks: Ranks = ALONE,
) -> FitResult:
    """Train a backbone, keep the weights of its best epoch and write them to run_dir/backbone.

    All ranks return the same model; only the first one's has figures. To resume, they must share
    the run's folder.

    Raises:
        ConfigError: no task to learn, or an unknown one to stop on.
        CheckpointError: resume, and the state belongs to another run.
        DataError: an esmm model, and the second task is not contained in the first.
        TrainingError: the loss is no longer finite.
    """
    keep_freed_memory()
    tasks = _old_tasks(config)
    if ranks.size > 1 and config.fit.l2_embedding and config.fit.l2_scope == "batch_rows":
        raise ConfigError(
            "l2_scope = 'batch_rows' counts the rows of a whole batch, of which a rank sees a "
            "part; train on one rank, or set it to 'all'"
        )
    run_dir.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=()):  # one seed, and the caller's own stream untouched
        run = _Run(config, prepared, tasks, progress if ranks.first else SILENT, ranks)
        identity = run_id(config, len(prepared.train), prepared.schema.digest())
        if resume and (run_dir / STATE).exists():
            run.state.load(run_dir / STATE, identity)
        ranks.share(run.model)
        if not ranks.first:  # the weights are drawn; dropout must differ between ranks
            torch.manual_seed(config.fit.seed + ranks.rank)
        progress.stage("fit", config.fit.epochs * run.steps_per_epoch)
        while not run.done:
            run.next_epoch()
            if ranks.first:
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
        self,
        config: TrainConfig,
        prepared: Prepared,
        tasks: tuple[str, ...],
        progress: Progress,
        ranks: Ranks,
    ) -> None:
        self.config, self.gan = config, config.model.gan
        self.fit = config.fit.for_rows(len(prepared.train))
        self.ranks, self.device = ranks, Device.of(self.fit)
        self.data = Pass(prepared.train, tasks, self.fit, ranks)
        self.prepared, self.tasks, self.progress = prepared, tasks, progress
        self.steps_per_epoch = -(-len(prepared.train) // self.fit.batch_size)
        torch.manual_seed(self.fit.seed)
        self.model = build_model(config.model, prepared.schema, tasks)
        if config.model.mixer == "esmm":
            for dataset in (prepared.train, prepared.valid, prepared.test):
                columns = [dataset.tasks.index(task) for task in tasks]
                labels, mask = dataset.labels[:, columns], dataset.mask[:, columns]
                check_funnel(labels, mask, force=config.model.esmm_force)
        self.model.to(self.device.place)
        generator = Generator().manual_seed(self.fit.seed)
        self.weights = _task_weights(config, tasks).to(self.device.place)
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
            average=WeightAverage(self.model, self.fit.average),
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
        with state.average.worn():
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
        for step, rows in enumerate(epoch_steps(train, self.fit, state.generator)):
            batch = self.data.batch(rows, state.generator)
            state.optimizer.zero_grad(set_to_none=True)
            terms = torch.zeros(len(self.tasks) + len(TERMS), device=self.device.place)
            if batch is not None:
                parts = self._loss(self.device.take(batch), step)
                parts.total.backward()  # type: ignore[no-untyped-call]  # torch's
                terms = parts.terms()
            values = self._finite_terms(self.ranks.add(model.parameters(), terms), step)
            if self.fit.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), self.fit.clip_norm)
            state.optimizer.step()
            state.average.take()
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value * len(rows)
            self.progress.step(values["total"])
        return {name: value / len(train) for name, value in sums.items()}

    def _loss(self, batch: Batch, step: int) -> LossParts:
        with self.device.rounding():
            outputs = self.model(batch.inputs, alpha=self._alpha(step)).widened()
        own = None
        if self.state.environment is not None:
            own = self.state.environment[batch.sample].to(self.device.place)
        return total_loss(self.model, outputs, batch, own, self.fit, self.weights)

    def _finite_terms(self, terms: Tensor, step: int) -> dict[str, float]:
        """The terms of one step; a task's own stands under "task:" and its name."""
        values = terms.tolist()
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
        if self.ranks.first:
            state.environment = self._easiest()
        self.ranks.tell(state.environment)
        counts = environment_counts(state.environment, len(self.tasks))
        if collapsed(counts):
            rows = dict(zip(self.tasks, counts.tolist(), strict=True))
            self.progress.warn(
                f"epoch {state.epoch}: one environment holds over {COLLAPSE_SHARE:.0%} of the rows "
                f"({rows}); set model.gan.env_normalise = 'rank'"
            )

    def _easiest(self) -> Tensor:
        """(R,) the task that each training row is easiest for."""
        train, gan = self.prepared.train, self.gan
        found = predict(self.model, train, self.tasks, shared=gan.env_source == "shared")
        logits = found.logits if found.shared_logits is None else found.shared_logits
        columns = [train.tasks.index(task) for task in self.tasks]
        labels, mask = train.labels[:, columns], train.mask[:, columns]
        return assign_environments(row_losses(logits, labels), gan.env_normalise, mask)

    def _validate(self) -> tuple[dict[str, float | None], float]:
        """Validation AUC per task, and what early stopping looks at."""
        found = torch.full((len(self.tasks),), float("nan"), dtype=torch.float64)
        if self.ranks.first:
            measured = evaluate(self.model, self.prepared.valid, self.tasks)
            values = [measured[task].auc for task in self.tasks]
            found = found.new_tensor([float("nan") if auc is None else auc for auc in values])
        told = self.ranks.tell(found.to(self.device.place)).tolist()
        auc = {t: None if math.isnan(a) else a for t, a in zip(self.tasks, told, strict=True)}
        watched = self.tasks if self.fit.early_stop == "sum" else (self.fit.early_stop,)
        return auc, sum(auc[task] or 0.0 for task in watched)


def _finish(run: _Run, run_dir: Path) -> FitResult:
    """Best weights back, measured with intervals, written."""
    state, prepared, tasks = run.state, run.prepared, run.tasks
    if state.best is None:
        raise TrainingError("no epoch was better than none: the validation score is not a number")
    run.model.load_state_dict(state.best)
    run.model.to("cpu").eval()
    resampling = Resampling(seed=run.fit.seed)
    splits: dict[Split, Dataset] = {"valid": prepared.valid, "test": prepared.test}
    card = CheckpointCard(
        config=run.config,
        schema=prepared.schema,
        tasks=tasks,
        metrics={
            split: evaluate(run.model, dataset, tasks, resampling)
            for split, dataset in splits.items()
            if run.ranks.first
        },
        seed=run.fit.seed,
        parameters=sum(p.numel() for p in run.model.parameters()),
        fingerprint="",
        history=tuple(state.history),
    )
    path = run_dir / BACKBONE
    checkpoint = Checkpoint(card, run.model, prepared.lookups)
    if run.ranks.first:
        checkpoint = write_checkpoint(path, checkpoint)
    return FitResult(
        checkpoint=checkpoint,
        path=path,
        best_epoch=state.best_epoch,
        epochs=state.epoch,
        seconds=state.seconds,
        rows_per_s=sum(r.rows_per_s for r in state.history) / len(state.history),
    )
