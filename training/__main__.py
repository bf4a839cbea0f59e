"""Stage 1 in as many processes as torchrun starts; `taskgraft train` is the form for one.

    torchrun --nproc-per-node N -m training CONFIG --data DIR --out DIR
        --> DIR/backbone, a line per epoch on stderr, one JSON document on stdout

A failure that the user can mend is one sentence on stderr; exit code 2 for the configuration, else
1. (Not --run: torchrun takes it for the start of an option of its own.)
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from training import recipes
from training.config import TrainConfig
from training.dataset import prepare
from training.device import Device
from training.errors import ConfigError, TrainingError
from training.fit import fit
from training.progress import EpochRecord, Silent
from training.ranks import joined


class _Lines(Silent):
    """A line per epoch, for logs."""

    def epoch(self, record: EpochRecord) -> None:
        losses = " ".join(f"{name} {value:.5f}" for name, value in record.losses.items())
        sys.stderr.write(f"epoch {record.epoch} {record.seconds:.1f} s {losses}\n")

    def warn(self, message: str) -> None:
        sys.stderr.write(f"note: {message}\n")


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("config", help="a TOML file, or a recipe's name")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the data folder")
    parser.add_argument("--out", type=Path, help="the run's folder; runs/NAME if unset")
    parser.add_argument("--seed", type=int, help="instead of the configuration's")
    parser.add_argument("--resume", action="store_true", help="go on where a run ended")
    given = parser.parse_args()
    try:
        config = recipes.configuration(given.config)
        config = config if given.seed is None else config.seeded(given.seed)
        _train(config, given.data, given.out or Path("runs") / config.name, resume=given.resume)
    except TrainingError as err:
        sys.stderr.write(f"error: {err}\n")
        sys.exit(2 if isinstance(err, ConfigError) else 1)


def _train(config: TrainConfig, data_dir: Path, run_dir: Path, *, resume: bool) -> None:
    prepared = prepare(config, data_dir)
    with joined(cuda=Device.of(config.fit).cuda) as ranks:
        result = fit(
            config, prepared, run_dir=run_dir, progress=_Lines(), resume=resume, ranks=ranks
        )
        if not ranks.first:
            return
    metrics = {task: asdict(m) for task, m in result.checkpoint.card.metrics["test"].items()}
    document = {"checkpoint": str(result.path), "ranks": ranks.size, "test": metrics}
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
