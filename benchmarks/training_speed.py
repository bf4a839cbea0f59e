"""`make bench-train`: rows a second while MMoE and PLE are trained, ours and torch-rechub's.

    Census, one set of sizes --rounds, taking turns--> results/training_speed.json

Both see the same encoded rows, sizes, batch, learning rate and epochs, on one thread each, taking
turns. The clock is that of the processor, so that other work on the machine counts for neither
side. torch-rechub runs in benchmarks/peers/.venv-rechub, made on first use. Reading and encoding
the data is left out on both sides, validation too.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import torch

from benchmarks.machine import describe_machine
from benchmarks.progress import tell_progress
from benchmarks.quality_plan import ROOT, Plan, base_config, read_plan
from benchmarks.results import Figure, write_results
from training.config import FitConfig, ModelConfig, TrainConfig
from training.dataset import Prepared, prepare
from training.fit import fit
from training.progress import EpochRecord
from training.recipes import get

COMMAND = "make bench-train"
PEERS = ROOT / "benchmarks" / "peers"
_VENV = PEERS / ".venv-rechub"
_REQUIREMENTS = ("torch>=2.13,<2.14", "torch-rechub==0.9.0")
_GOAL = 3.0
_SIZES = {"embedding_dim": 8, "expert_units": [64, 32], "tower_units": [32]}
# E experts of mmoe; specific, shared and levels of ple.
_KINDS = {"experts": 4, "specific": 1, "shared": 2, "levels": 2}
log = logging.getLogger("bench-train")


@dataclass(frozen=True, slots=True)
class Run:
    """One training: rows a second over all its epochs, and test AUCs."""

    rows_per_s: float
    auc: tuple[float, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_speed")
    parser.add_argument("--own", type=Path, default=ROOT / "data", help="the data folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate of both")
    parser.add_argument("--batch", type=int, default=2048)
    options = parser.parse_args(arguments)
    tell_progress()
    torch.set_num_threads(1)
    get("census", options.own)
    plan = read_plan(ROOT / "benchmarks" / "quality.toml")
    base = base_config(plan.data["census"])
    prepared = prepare(base, options.own)
    settings = _SIZES | _KINDS | {"batch": options.batch, "epochs": options.epochs}
    settings["learning_rate"] = options.rate
    python = peer_python()
    found: dict[str, list[tuple[Run, Run]]] = {"mmoe": [], "ple": []}
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        write_arrays(prepared, plan, arrays)
        for seed in range(options.rounds):
            for model, runs in found.items():
                ours = own_run(base, prepared, model, settings, seed)
                theirs = peer_run(python, arrays, model, settings, seed)
                runs.append((ours, theirs))
                log.info("%s %d: ours %s, torch-rechub %s", model, seed, ours, theirs)
            figures = [f for model, runs in found.items() for f in figures_of(model, runs)]
            write_results("training_speed", describe_machine(("torch",)), figures, notes(settings))
    return 0


def write_arrays(prepared: Prepared, plan: Plan, path: Path) -> None:
    """The encoded rows as plain arrays; ids count from 0 in each field's own vocabulary."""
    tasks = plan.data["census"].tasks
    arrays: dict[str, np.ndarray] = {}
    parts = {"train": prepared.train, "valid": prepared.valid, "test": prepared.test}
    for name, dataset in parts.items():
        batch = dataset.batch(torch.arange(len(dataset)), tasks)
        arrays[f"{name}_x"] = batch.inputs.item_ids.numpy().astype(np.int64)
        arrays[f"{name}_dense"] = batch.inputs.item_dense.numpy()
        arrays[f"{name}_y"] = batch.labels.numpy().astype(np.int64)
    every = [arrays[f"{name}_x"] for name in parts]
    lowest = np.min([ids.min(axis=0) for ids in every], axis=0)
    for name in parts:
        arrays[f"{name}_x"] -= lowest
    arrays["sizes"] = np.max([ids.max(axis=0) for ids in every], axis=0) + 1
    np.savez(path, allow_pickle=False, **arrays)


def own_run(
    base: TrainConfig, prepared: Prepared, model: str, settings: dict[str, object], seed: int
) -> Run:
    """Our training with the same sizes."""
    kinds = {
        "mmoe": {"mixer": "mmoe", "shared_experts": settings["experts"]},
        "ple": {
            "mixer": "ple",
            "specific_experts": settings["specific"],
            "shared_experts": settings["shared"],
            "layers": settings["levels"],
        },
    }
    sizes: dict[str, object] = {key: settings[key] for key in _SIZES}
    plain: dict[str, object] = {"gate_units": (), "gate_bias": True, "init": "xavier"}
    fitting = {
        "batch_size": settings["batch"],
        "epochs": settings["epochs"],
        "learning_rate": settings["learning_rate"],
        "l2_embedding": 0.0,  # torch-rechub's examples hold no table back either
        "seed": seed,
    }
    config = base.model_copy(
        update={
            "model": ModelConfig.model_validate(plain | sizes | kinds[model]),
            "fit": FitConfig.model_validate(fitting),
        }
    )
    clock = StepClock(-(-len(prepared.train) // config.fit.batch_size))
    with tempfile.TemporaryDirectory() as folder:
        card = fit(config, prepared, run_dir=Path(folder), progress=clock).checkpoint.card
    rate = clock.steps * config.fit.batch_size / clock.seconds
    return Run(rate, tuple(card.metrics["test"][task].auc or 0.0 for task in card.tasks))


class StepClock:
    """Processor seconds from the end of each epoch's first step to the end of its last."""

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.steps, self.seconds = 0, 0.0
        self._step, self._since = 0, 0.0

    def stage(self, name: str, steps: int) -> None: ...

    def step(self, loss: float) -> None:
        self._step += 1
        if self._step == 1:
            self._since = process_time()
        elif self._step == self.steps_per_epoch:
            self.seconds += process_time() - self._since
            self.steps += self._step - 1

    def epoch(self, record: EpochRecord) -> None:
        self._step = 0

    def warn(self, message: str) -> None:
        log.warning(message)


def peer_run(python: Path, arrays: Path, model: str, settings: dict[str, object], seed: int) -> Run:
    """Theirs, in its own environment and process."""
    command = [str(python), str(PEERS / "rechub_training.py"), str(arrays), "--model", model]
    command += ["--settings", json.dumps(settings), "--seed", str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RuntimeError(f"torch-rechub's {model} failed: {last}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Run(found["rows"] * len(found["seconds"]) / sum(found["seconds"]), tuple(found["auc"]))


def peer_python() -> Path:
    """The interpreter of the peer's environment, which is made on first use."""
    python = _VENV / "bin" / "python"
    if not (_VENV / ".ready").exists():
        log.info("making %s", _VENV)
        venv.create(_VENV, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", *_REQUIREMENTS]
        subprocess.run(pip, check=True)
        (_VENV / ".ready").touch()
    return python


def figures_of(model: str, runs: Sequence[tuple[Run, Run]]) -> list[Figure]:
    """Medians over the rounds, with the lowest and the highest."""
    found = []
    for who, at in (("taskgraft", 0), ("torch-rechub", 1)):
        rates = [pair[at].rows_per_s for pair in runs]
        found.append(_figure(f"training/{model}/{who}/speed", rates, "rows/s", None))
        for task, name in enumerate(("income", "never_married")):
            aucs = [pair[at].auc[task] for pair in runs]
            found.append(_figure(f"training/{model}/{who}/{name}", aucs, "test AUC", None))
    ratios = [ours.rows_per_s / theirs.rows_per_s for ours, theirs in runs]
    found.append(_figure(f"training/{model}/faster", ratios, "times", _GOAL))
    behind = [min(a - b for a, b in zip(o.auc, t.auc, strict=True)) for o, t in runs]
    found.append(_figure(f"training/{model}/auc ahead", behind, "AUC, of the worse task", -0.002))
    return found


def _figure(name: str, values: Sequence[float], unit: str, least: float | None) -> Figure:
    value = statistics.median(values)
    return Figure(
        name=name,
        value=value,
        unit=unit,
        spread=(min(values), max(values)),
        goal=None if least is None else f">= {least:g}",
        holds=None if least is None else value >= least,
        command=COMMAND,
    )


def notes(settings: dict[str, object]) -> dict[str, str]:
    return {
        "settings": "Census-Income, one thread each, taking turns, in seconds of the processor; "
        f"data already encoded, no validation. Sizes: {json.dumps(settings)}. torch-rechub as its "
        "own examples use it: DataGenerator and MTLTrainer; its experts and towers hold batch "
        "normalisation and dropout layers that ours do not have."
    }


if __name__ == "__main__":
    sys.exit(main())
