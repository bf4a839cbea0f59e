"""A tuned prompt to the one file that is grafted.

    Checkpoint + PromptCheckpoint + Dataset --export_prompt--> bytes, or ExportError | ParityError

The file is proved on the very bundle it is meant for before it is handed out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from contract.bundle import Bundle, open_bundle
from contract.manifest import Manifest
from contract.prompt import (
    FORMAT_VERSION,
    Prompt,
    PromptHeader,
    Scalar,
    read_prompt,
    write_prompt,
)
from export.bundle import numbers
from export.errors import ExportError, ParityError
from export.golden import golden_call
from export.parity import Graphs, Sessions
from training.checkpoint import Checkpoint, PromptCheckpoint
from training.dataset import Dataset
from training.dtrn_bank import CONDITIONED, beside_conditioned
from training.inputs import Inputs
from training.report import attention_at

# A header holds 64 values of its making, and says other things too.
_MOST_SOURCES = 40


def export_prompt(
    checkpoint: Checkpoint,
    prompt: PromptCheckpoint,
    dataset: Dataset,
    bundle: Path | Bundle,
    provenance: Mapping[str, Scalar] | None = None,
) -> bytes:
    """The prompt file.

    Args:
        checkpoint: the backbone the prompt was tuned on.
        prompt: the tuned prompt.
        dataset: any split of data prepared with the checkpoint's lookups: gives golden rows.
        bundle: the exported backbone that the prompt will be grafted onto; opened already where
            several prompts are exported.
        provenance: what else the file shall tell of its making.

    Raises:
        ExportError: the bundle holds another backbone, or serves prompts of another shape.
        ParityError: the bundle's graph does not score as PyTorch does.
        ContractError: the bundle cannot be opened.
    """
    opened = open_bundle(bundle) if isinstance(bundle, Path) else bundle
    manifest = opened.manifest
    if manifest.fingerprint != checkpoint.card.fingerprint:
        raise ExportError(
            f"the bundle holds backbone {manifest.fingerprint[:12]}, the prompt was tuned on "
            f"{checkpoint.card.fingerprint[:12]}: export that backbone first"
        )
    tensors = _tensors(prompt, manifest)
    inputs, arrays = golden_call(checkpoint.schema, dataset)
    with torch.no_grad():
        scores = torch.sigmoid(prompt.head(checkpoint.model.represent(inputs))).numpy()
    told = _attention(checkpoint, prompt, inputs) | dict(provenance or {})
    header = _header(prompt, manifest, told)
    data = write_prompt(header, tensors, arrays, scores)
    _prove(opened, read_prompt(data))
    return data


def _tensors(prompt: PromptCheckpoint, manifest: Manifest) -> dict[str, NDArray[np.float32]]:
    """In the form of the bundle's prompts; where those are conditioned, plain ones fit as well."""
    found = prompt.head.bank_tensors()
    shapes = {spec.name: tuple(map(int, spec.shape)) for spec in manifest.prompt_tensors}
    if CONDITIONED in shapes and CONDITIONED not in found:
        found = beside_conditioned(found, shapes)
    if found.keys() != shapes.keys():
        raise ExportError(
            "the bundle serves prompts with other tensors; tune with the dtrn, prompt_keys, "
            "expert_units, item_weights and tower_units that the backbone was exported with"
        )
    return {name: tensor.numpy() for name, tensor in found.items()}


def _attention(
    checkpoint: Checkpoint, prompt: PromptCheckpoint, inputs: Inputs
) -> dict[str, Scalar]:
    """Whom the prompt hears on the golden rows; nothing of a backbone with very many tasks."""
    found = attention_at(checkpoint.model, prompt, inputs)
    if len(found.sources) > _MOST_SOURCES:
        return {}
    named = {f"attention {task}": round(weight, 4) for task, weight in found.sources.items()}
    return {**named, "gate mixture": round(found.mixture, 4), "gate shared": round(found.shared, 4)}


def _header(
    prompt: PromptCheckpoint, manifest: Manifest, provenance: Mapping[str, Scalar]
) -> PromptHeader:
    card = prompt.card
    return PromptHeader(
        format_version=FORMAT_VERSION,
        task=card.task,
        backbone=manifest.fingerprint,
        schema_digest=manifest.schema_digest,
        trained_parameters=card.parameters,
        metrics=numbers(card.metrics["test"]) if "test" in card.metrics else {},
        provenance={
            "label": card.label,
            "fusion": card.config.fusion,
            "seed": card.config.seed,
            "train_rows": card.train_rows,
            "tuned_in_s": round(card.seconds, 3),
            "prompt_checkpoint": card.fingerprint,
            **provenance,
        },
    )


def _prove(bundle: Bundle, prompt: Prompt) -> None:
    """What the service will do with the file, done before it leaves."""
    manifest = bundle.manifest
    prompt.check_fits(manifest)
    sessions = Sessions(Graphs.of(bundle))
    bank = sessions.prepared({name: t[np.newaxis] for name, t in prompt.tensors.items()})
    representation = sessions.represent(dict(prompt.golden_inputs))
    found = sessions.run("prompts", {**representation, **bank})["scores"][:, 0]
    worst = float(np.abs(found - prompt.golden_scores).max())
    if not worst <= manifest.tolerance:
        raise ParityError(
            f"the bundle scores the prompt's golden rows {worst:.3g} away from PyTorch, more than "
            f"{manifest.tolerance:.0e}",
            worst,
        )
