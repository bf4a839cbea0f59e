"""What a bundle scores, measured: the served model itself, not the one it came from.

    Bundle, prompts, Dataset --score_bundle--> probabilities --evaluate_bundle--> Evaluation

The data must be encoded by the bundle's own lookups; a task they hold no label of is a ConfigError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from contract.bundle import Bundle
from contract.manifest import ITEM_ROWS
from contract.prompt import Prompt
from export.composed import SCORES
from export.modules import arrays_of
from export.parity import Graphs, Sessions
from export.quality import requests
from export.session import Arrays, GraphSession
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
    bank = {
        spec.name: np.stack([prompt.tensors[spec.name] for prompt in prompts])
        for spec in manifest.prompt_tensors
        if prompts
    }
    if prompts and manifest.prompt_form is not None:
        bank = GraphSession(bundle.folder, manifest.prompt_form).run(bank)
    prompt_head = GraphSession(bundle.folder, manifest.prompt_head)
    scores = np.empty((len(dataset), len(manifest.tasks) + len(prompts)), dtype=np.float32)
    for rows, seen in _seen(bundle, dataset):
        columns = [seen[SCORES]]
        if prompts:
            columns.append(prompt_head.run({**seen, **bank})[SCORES])
        scores[rows.numpy()] = np.concatenate(columns, axis=1)
    return scores


def _seen(bundle: Bundle, dataset: Dataset) -> Iterator[tuple[Tensor, Arrays]]:
    """Row numbers, scores of the bundle's own tasks, and the representation.

    By the graph that answers requests; where there is none, or the data describe items that its
    tables do not hold, by the general ones, as the service does.
    """
    serving = bundle.manifest.serving
    if serving is not None and (
        dataset.item_rows is not None
        or ITEM_ROWS not in [spec.name for spec in serving.exact.inputs]
    ):
        session = GraphSession(bundle.folder, serving.graph())
        for rows, arrays in requests(dataset):
            yield rows, {**session.run(arrays), "row_user": arrays["row_user"]}
        return
    heads = [task.name for task in bundle.manifest.tasks]
    sessions = Sessions(Graphs.of(bundle))
    for rows in by_request(dataset, EVAL_BATCH):
        seen = sessions.represent(arrays_of(dataset.batch(rows, ()).inputs))
        columns = [sessions.run(f"head {task}", seen)["score"] for task in heads]
        yield rows, {**seen, SCORES: np.stack(columns, axis=1)}
