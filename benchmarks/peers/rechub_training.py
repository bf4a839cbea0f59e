"""Train a torch-rechub model the way its own examples do, in torch-rechub's own environment.

    arrays.npz, a model name --main--> a line of JSON: processor seconds per epoch, test AUCs

Arrays: {train,valid,test}_{x,dense,y} with ids per field from 0, `sizes` per categorical field.
Nothing of taskgraft is imported here. Progress bars go to the error stream.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.multi_task import MMOE, PLE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator

TASKS = 2
Arrays = Mapping[str, NDArray[Any]]
Columns = dict[str, NDArray[Any]]
Settings = dict[str, Any]  # Any: numbers and lists of numbers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arrays")
    parser.add_argument("--model", choices=("mmoe", "ple"), required=True)
    parser.add_argument("--settings", required=True, help="JSON: sizes of layers, batch, epochs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = json.loads(options.settings)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    with contextlib.redirect_stdout(sys.stderr):
        found = train(np.load(options.arrays), options.model, settings)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def train(arrays: Arrays, name: str, settings: Settings) -> dict[str, Any]:
    features, parts = inputs(arrays, settings["embedding_dim"])
    model = build(name, features, settings)
    (train_x, train_y), (valid_x, valid_y), (test_x, test_y) = parts
    generator = DataGenerator(train_x, train_y)
    loaders = generator.generate_dataloader(
        x_val=valid_x, y_val=valid_y, x_test=test_x, y_test=test_y, batch_size=settings["batch"]
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = MTLTrainer(
            model,
            task_types=["classification"] * TASKS,
            optimizer_params={"lr": settings["learning_rate"], "weight_decay": 0.0},
            n_epoch=settings["epochs"],
            model_path=folder,
        )
        seconds = []
        for _ in range(settings["epochs"]):
            started = process_time()
            trainer.train_one_epoch(loaders[0])
            seconds.append(process_time() - started)
        auc = trainer.evaluate(trainer.model, loaders[2])
    return {
        "seconds": seconds,
        "rows": len(train_y),
        "auc": [float(value) for value in auc],
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def inputs(arrays: Arrays, width: int) -> tuple[list[Any], list[tuple[Columns, Any]]]:
    """Their feature columns, and per part (dictionary of columns, labels)."""
    sizes = arrays["sizes"]
    dense = arrays["train_dense"].shape[1]
    features = [SparseFeature(f"c{i}", int(n), embed_dim=width) for i, n in enumerate(sizes)]
    features += [DenseFeature(f"d{i}") for i in range(dense)]
    parts = []
    for part in ("train", "valid", "test"):
        columns = {f"c{i}": arrays[f"{part}_x"][:, i] for i in range(len(sizes))}
        columns |= {f"d{i}": arrays[f"{part}_dense"][:, i] for i in range(dense)}
        parts.append((columns, arrays[f"{part}_y"]))
    return features, parts


def build(name: str, features: list[Any], settings: Settings) -> MMOE | PLE:
    experts = {"dims": settings["expert_units"]}
    towers = [{"dims": settings["tower_units"]} for _ in range(TASKS)]
    kinds = ["classification"] * TASKS
    if name == "mmoe":
        return MMOE(features, kinds, settings["experts"], experts, towers)
    return PLE(
        features,
        kinds,
        n_level=settings["levels"],
        n_expert_specific=settings["specific"],
        n_expert_shared=settings["shared"],
        expert_params=experts,
        tower_params_list=towers,
    )


if __name__ == "__main__":
    sys.exit(main())
