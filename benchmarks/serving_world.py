"""What serving is measured with: a bundle, real users, their candidates, and tasks to graft.

    ../shared/data/kuairand or a made-up shop --trained_run--> a STEM backbone, kept under runs/
    run --exported--> bundle --World.open--> request bodies, their arrays, a filled feature store
                                        └--> prompts with drawn weights: what they cost, not learn

Users, their fields and histories are those of the bundle's golden requests: real rows of the data.
Requests name ids alone; the service looks the rest up.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.shop_bundle import train_shop
from commands.feature_store import load_records
from contract.arrays import open_array
from contract.bundle import LOOKUPS_FOLDER, Bundle, open_bundle
from contract.prompt import FORMAT_VERSION, PromptHeader, write_prompt
from export.bundle import export_bundle
from service.bank import Arrays
from service.encoder import Encoder
from service.engine import Cancellation, Engine
from service.environment import read_settings
from service.features import NO_FEATURES, History, UserFeatures, UserRecord
from service.messages import ScoreRequest
from service.packing import IdArray
from training.checkpoint import read_checkpoint
from training.config import TrainConfig
from training.dataset import prepare
from training.fit import fit

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
KEPT = ROOT / "runs" / "bench-serving"
_RECIPE = ROOT / "training" / "recipes" / "kuairand.toml"
_MODEL = {
    "init": "xavier",
    "bottom": "stem",
    "mixer": "aftb",
    "embedding_dim": 16,
    "specific_experts": 1,
    "shared_experts": 2,
    "expert_units": [256, 128],
    "gate_units": [64],
    "tower_units": [64],
}
_FIT = {"epochs": 2, "batch_size": 4096, "learning_rate": 1e-3}
_VARIANTS = 64  # requests of each size, sent in turn
_WEIGHTS = 0.05  # standard deviation of a drawn prompt's tensors
_VERSIONS = 12  # different files, so that what is grafted is nowhere held from the last time


def trained_run(data: Path = SHARED, kept: Path = KEPT) -> tuple[Path, Path]:
    """A run and the data it learned from; trained once, then found again.

    Returns:
        The run's folder, and the folder its configuration's paths are relative to.
    """
    if not (data / "kuairand").exists():
        run = kept / "shop"
        if not (run / "run" / "backbone").exists():
            train_shop(run, _MODEL)
        return run / "run", run
    run = kept / "kuairand"
    if not (run / "backbone").exists():
        document = tomllib.loads(_RECIPE.read_text(encoding="utf-8"))
        document |= {"name": "bench-stem", "model": _MODEL, "fit": _FIT}
        for task in document["tasks"]:
            task.pop("new", None)
        config = TrainConfig.model_validate(document)
        fit(config, prepare(config, data), run_dir=run)
    return run, data


def exported(run: Path, data: Path, folder: Path) -> Path:
    """The run's bundle, made by the code as it is now."""
    checkpoint = read_checkpoint(run / "backbone")
    rows = prepare(checkpoint.card.config, data, checkpoint.lookups).valid
    return export_bundle(checkpoint, rows, folder).folder


@dataclass(frozen=True)  # no slots: the graphs that score prompts are opened once, and kept
class World:
    """One bundle and what to ask it.

    Attributes:
        users: raw requests without their items; no history is empty in all behaviours.
        items: raw ids of the catalogue.
    """

    bundle: Bundle
    users: tuple[dict[str, Any], ...]
    items: tuple[int | str, ...]

    @property
    def tasks(self) -> list[str]:
        """The pre-trained ones."""
        return [task.name for task in self.bundle.manifest.tasks]

    @classmethod
    def open(cls, folder: Path) -> Self:
        bundle = open_bundle(folder)
        kind = "<i8" if bundle.lookups.schema.item_id_type == "int64" else "|S"
        keys = open_array(folder / LOOKUPS_FOLDER / "items.keys.npy", kind, 1).tolist()
        items = tuple(k.decode() if isinstance(k, bytes) else k for k in keys)
        # The last golden request is of a user whom nobody knows.
        users = [dict(golden.request) for golden in bundle.golden[:-1]]
        for user in users:
            for name in ("item_ids", "items"):
                user.pop(name, None)
        return cls(bundle, tuple(users), items)

    def requests(self, size: int, tasks: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Of so many candidates, the same ones each time; all pre-trained tasks if None."""
        chance = np.random.default_rng(size)
        named = self.tasks if tasks is None else tasks
        return [
            {
                "user_id": (user := self.users[number % len(self.users)])["user_id"],
                "item_ids": [self.items[at] for at in chance.integers(0, len(self.items), size)],
                "context": user.get("context", {}),
                "tasks": list(named),
            }
            for number in range(_VARIANTS)
        ]

    def bodies(self, size: int, tasks: Sequence[str] | None = None) -> list[bytes]:
        return [orjson.dumps(request) for request in self.requests(size, tasks)]

    def arrays(self, encoder: Encoder, size: int) -> list[dict[str, Any]]:
        """What the service makes of each of the requests."""
        known = {user["user_id"]: self._features(user) for user in self.users}
        return [
            encoder.encode(ScoreRequest(**request), known[request["user_id"]])
            for request in self.requests(size)
        ]

    def fill_store(self, path: Path) -> str:
        """An embedded feature store that knows the users; the setting that names it."""
        name = f"embedded:{path}"
        settings = read_settings(bundle=self.bundle.folder, feature_store=name)
        records = [self._record(user) for user in {u["user_id"]: u for u in self.users}.values()]
        load_records(settings, self.bundle.lookups.schema, records)
        return name

    def versions(self, task: str) -> list[bytes]:
        """Files of one task, all different, to swap among."""
        return [self.prompt(task, seed) for seed in range(_VERSIONS)]

    def prompt(self, task: str, seed: int) -> bytes:
        """A task's file, its weights drawn, its golden rows scored by the bundle's own graphs."""
        manifest = self.bundle.manifest
        chance = np.random.default_rng(seed)
        tensors: Arrays = {
            spec.name: chance.normal(0, _WEIGHTS, [int(size) for size in spec.shape]).astype(
                np.float32
            )
            for spec in manifest.prompt_tensors
        }
        golden = ScoreRequest(**self.bundle.golden[0].request)
        encoded = Encoder(self.bundle.lookups).encode(golden, NO_FEATURES)
        arrays = {spec.name: encoded[spec.name] for spec in manifest.backbone.inputs}
        bank = {name: t[np.newaxis] for name, t in self._engine.prepared(tensors).items()}
        scores = self._engine.run(arrays, (), bank, Cancellation()).prompts[:, 0]
        header = PromptHeader(
            format_version=FORMAT_VERSION,
            task=task,
            backbone=manifest.fingerprint,
            schema_digest=manifest.schema_digest,
            trained_parameters=sum(tensor.size for tensor in tensors.values()),
        )
        return write_prompt(header, tensors, arrays, np.ascontiguousarray(scores))

    @cached_property
    def _engine(self) -> Engine:
        return Engine.open(self.bundle)

    def _features(self, user: dict[str, Any]) -> UserFeatures:
        histories = {name: self._ids(ids) for name, ids in user.get("history", {}).items()}
        return UserFeatures(profile=user.get("user", {}), histories=histories, items={})

    def _record(self, user: dict[str, Any]) -> UserRecord:
        histories: dict[str, tuple[IdArray, NDArray[np.int64]]] = {
            name: (ids, np.arange(1, len(ids) + 1, dtype=np.int64))
            for name, ids in user.get("history", {}).items()
        }
        return UserRecord(str(user["user_id"]), user.get("user", {}), histories)

    def _ids(self, ids: Sequence[Any]) -> History:
        if self.bundle.lookups.schema.item_id_type == "int64":
            return np.asarray(ids, dtype=np.int64)
        return np.asarray(ids, dtype=np.bytes_)
