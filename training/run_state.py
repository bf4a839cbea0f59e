"""All that a run of stage 1 is between two epochs, so that a killed run goes on as if nothing was.

    fit --RunState.save--> state.safetensors --RunState.load--> fit, bit for bit

One file, so that it is replaced at once: tensors, and the plain values as JSON in its header.
Damaged, or of another run: CheckpointError.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from training.average import WeightAverage
from training.config import TrainConfig
from training.errors import CheckpointError
from training.progress import EpochRecord

Weights = dict[str, Tensor]
_PLAIN = ("epoch", "best_epoch", "best_score", "waited", "seconds")


@dataclass(slots=True)
class RunState:
    """What changes while a run goes on.

    Attributes:
        average: of the weights; what is judged, and kept as the best.
        environment: (R,) environment label of every training row; None where there is no game.
        waited: epochs since the best one.
    """

    model: nn.Module
    optimizer: Optimizer
    average: WeightAverage
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
        """Note the score of the epoch just ended; a copy of the model's weights is kept if best."""
        if score <= self.best_score:
            self.waited += 1
            return False
        self.best_score, self.best_epoch, self.waited = score, self.epoch, 0
        self.best = {name: t.clone() for name, t in self.model.state_dict().items()}
        return True

    def save(self, path: Path, run_id: str) -> None:
        """Write the state; the file is replaced at once, never half written."""
        moments = self.optimizer.state_dict()["state"]
        random = {"shuffle": self.generator.get_state(), "dropout": torch.get_rng_state()}
        tensors = {
            **_under("model", self.model.state_dict()),
            **_under("average", self.average.state()),
            **_under("best", self.best or {}),
            **_under("random", random),
            **{f"optimizer.{at}.{name}": t for at in moments for name, t in moments[at].items()},
        }
        if self.environment is not None:
            tensors["environment"] = self.environment
        plain: dict[str, object] = {name: getattr(self, name) for name in _PLAIN}
        plain["history"] = [asdict(record) for record in self.history]
        header = {"run": run_id, "state": json.dumps(plain)}
        aside = path.with_suffix(".tmp")
        save_file({name: t.contiguous() for name, t in tensors.items()}, aside, header)
        os.replace(aside, path)

    def load(self, path: Path, run_id: str) -> None:
        """Go back to a saved state, the random numbers of dropout included.

        Raises:
            CheckpointError: damaged, or of a run with another configuration or other data.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as err:
            raise CheckpointError(
                f"{path} is damaged ({err}); remove it to train from the start"
            ) from err
        if header.get("run") != run_id:
            raise CheckpointError(
                f"{path} belongs to a run with another configuration or other data; "
                "remove it, or give another run folder"
            )
        self.model.load_state_dict(_of("model", tensors))
        self.average.load(_of("average", tensors))
        moments: dict[int, Weights] = {}
        for name, tensor in _of("optimizer", tensors).items():
            at, _, moment = name.partition(".")
            moments.setdefault(int(at), {})[moment] = tensor
        groups = self.optimizer.state_dict()["param_groups"]  # the configuration's, as in this run
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.generator.set_state(tensors["random.shuffle"])
        torch.set_rng_state(tensors["random.dropout"])
        self.environment = tensors.get("environment")
        self.best = _of("best", tensors) or None
        plain = json.loads(header["state"])
        self.history = [
            EpochRecord(**{**record, "environments": tuple(record["environments"])})
            for record in plain["history"]
        ]
        for name in _PLAIN:
            setattr(self, name, plain[name])


def _under(part: str, tensors: Mapping[str, Tensor]) -> Weights:
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def _of(part: str, tensors: Mapping[str, Tensor]) -> Weights:
    prefix = f"{part}."
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def run_id(config: TrainConfig, rows: int, schema_digest: str) -> str:
    """Equal for runs that may continue each other."""
    text = f"{config.model_dump_json()}\0{rows}\0{schema_digest}"
    return hashlib.sha256(text.encode()).hexdigest()
