"""What a bundle scores, measured: the served model itself, not the one it came from.

    Bundle, prompts, Dataset --score_bundle--> probabilities --evaluate_bundle--> Evaluation

The data must be encoded by the bundle's own lookups; a task they hold no label of is a ConfigError.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.prompt import Prompt
from export.parity import Graphs, Sessions
from training.dataset import Dataset
from training.errors import ConfigError
from training.evaluate import EVAL_BATCH, Evaluation, by_request, examined
from training.metrics import Resampling

Scores = NDArray[np.float32]


def evaluate_bundle(
    bundle: Bundle,
    prompts: Sequence[Prompt],
    dataset: Dataset,
    resampling: Resampling | None = None,
) -> Evaluation:
    """Figures of a bundle's own tasks and of the prompts that would be grafted onto it.

    Raises:
        PromptMisfit: a prompt of another backbone.
        ConfigError: the data hold no label of a task.
    """
    for prompt in prompts:
        prompt.check_fits(bundle.manifest)
    tasks = [task.name for task in bundle.manifest.tasks]
    tasks += [prompt.header.task for prompt in prompts]
    if unknown := [task for task in tasks if task not in dataset.tasks]:
        raise ConfigError(
            f"the configuration has no task {', '.join(unknown)}, only {list(dataset.tasks)}; "
            "give the one that the tasks were learned with"
        )
    return examined(score_bundle(bundle, prompts, dataset), dataset, tasks, resampling)


def score_bundle(bundle: Bundle, prompts: Sequence[Prompt], dataset: Dataset) -> Scores:
    """Probabilities (R, T + P) by ONNX Runtime, in the order of the data set."""
    manifest = bundle.manifest
    heads = {task.name: task.graph for task in manifest.tasks}
    sessions = Sessions(Graphs(bundle.folder, manifest.backbone, heads, manifest.prompt_head))
    bank = {
        spec.name: np.stack([prompt.tensors[spec.name] for prompt in prompts])
        for spec in manifest.prompt_tensors
        if prompts
    }
    scores = np.empty((len(dataset), len(heads) + len(prompts)), dtype=np.float32)
    for rows in by_request(dataset, EVAL_BATCH):
        inputs = dataset.batch(rows, ()).inputs
        arrays = {s.name: getattr(inputs, s.name).numpy() for s in bundle.lookups.schema.inputs()}
        seen = sessions.represent(arrays)
        columns = [sessions.run(f"head {task}", seen)["score"][:, None] for task in heads]
        if prompts:
            columns.append(sessions.run("prompts", {**seen, **bank})["scores"])
        scores[rows.numpy()] = np.concatenate(columns, axis=1)
    return scores
