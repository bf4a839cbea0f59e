"""All that a run of stage 1 is between two epochs, so that a killed run goes on as if nothing was.

    fit --RunState.save--> state.pt --RunState.load--> fit, bit for bit

state.pt holds tensors and plain values only and is read without unpickling code.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from training.config import TrainConfig
from training.errors import CheckpointError
from training.progress import EpochRecord

Weights = dict[str, Tensor]


@dataclass(slots=True)
class RunState:
    """What changes while a run goes on.

    Attributes:
        environment: (R,) environment label of every training row; None where there is no game.
        waited: epochs since the best one.
    """

    model: nn.Module
    optimizer: Optimizer
    generator: Generator
    environment: Tensor | None
    epoch: int = 0
    best: Weights | None = None
    best_epoch: int = 0
    best_score: float = -float("inf")
    waited: int = 0
    seconds: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)

    def keep_if_best(self, score: float) -> bool:
        """Note the score of the epoch just ended; a copy of the best weights is kept."""
        if score <= self.best_score:
            self.waited += 1
            return False
        self.best_score, self.best_epoch, self.waited = score, self.epoch, 0
        self.best = {name: t.clone() for name, t in self.model.state_dict().items()}
        return True

    def save(self, path: Path, run_id: str) -> None:
        """Write the state; the file is replaced at once, never half written."""
        values = {
            "run": run_id,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "dropout_rng": torch.get_rng_state(),
            "environment": self.environment,
            "best": self.best,
            "history": [asdict(record) for record in self.history],
            **{name: getattr(self, name) for name in _PLAIN},
        }
        aside = path.with_suffix(".tmp")
        torch.save(values, aside)
        os.replace(aside, path)

    def load(self, path: Path, run_id: str) -> None:
        """Go back to a saved state, the random numbers of dropout included.

        Raises:
            CheckpointError: damaged, or of a run with another configuration or other data.
        """
        if not zipfile.is_zipfile(path):  # else torch takes it for a pickle of its first years
            raise CheckpointError(f"{path} is damaged; remove it to train from the start")
        try:
            values: dict[str, Any] = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as err:
            raise CheckpointError(
                f"{path} cannot be read ({err}); remove it to train from the start"
            ) from err
        if values.get("run") != run_id:
            raise CheckpointError(
                f"{path} belongs to a run with another configuration or other data; "
                "remove it, or give another run folder"
            )
        self.model.load_state_dict(values["model"])
        self.optimizer.load_state_dict(values["optimizer"])
        self.generator.set_state(values["generator"])
        torch.set_rng_state(values["dropout_rng"])
        self.environment = values["environment"]
        self.best = values["best"]
        self.history = [
            EpochRecord(**{**record, "environments": tuple(record["environments"])})
            for record in values["history"]
        ]
        for name in _PLAIN:
            setattr(self, name, values[name])


_PLAIN = ("epoch", "best_epoch", "best_score", "waited", "seconds")


def run_id(config: TrainConfig, rows: int, schema_digest: str) -> str:
    """Equal for runs that may continue each other."""
    text = f"{config.model_dump_json()}\0{rows}\0{schema_digest}"
    return hashlib.sha256(text.encode()).hexdigest()
