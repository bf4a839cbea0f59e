"""The graphs that answer a request, and the gate that 8 bits must pass.

prompt head --for_one_user--> the same for one user
backbone + heads --composed, folded, for_one_user, tabulated--> exact --quantised--> candidate
held-out rows, both graphs --quality.py--> Evidence per task --> Serving in the manifest
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from contract.manifest import Evidence, Serving
from export.catalogue import size_bytes, tabulated
from export.composed import composed
from export.graph import GraphFolder
from export.one_user import for_one_user
from export.quality import ServingSession, compare
from export.quantise import quantised
from export.rewrite import folded
from training.dataset import Dataset

EXACT_FILE, QUANTISED_FILE = "serving.onnx", "serving.int8.onnx"
PROMPTS_FILE = "serving.prompts.onnx"


@dataclass(frozen=True, slots=True)
class Traced:
    """A model's graphs for any number of users, in memory."""

    backbone: onnx.ModelProto
    heads: Mapping[str, onnx.ModelProto]
    prompt_form: onnx.ModelProto
    prompt_head: onnx.ModelProto


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """What may be spent and lost.

    Attributes:
        table_bytes: the largest size of the tables over items; 0 for none.
        quantise: whether to try 8 bits at all.
        auc_loss: the largest accepted loss of AUC of any task.
        overlap: the least accepted share of the exact top 10.
    """

    table_bytes: int = 512 << 20
    quantise: bool = True
    auc_loss: float = 1e-4
    overlap: float = 0.9


def write_serving(
    traced: Traced,
    held_out: Dataset,
    folder: GraphFolder,
    options: ServingOptions,
) -> Serving:
    """Write the exact graph, and the 8-bit one if it passes the gate.

    Args:
        traced: the graphs for any number of users.
        held_out: rows that no weight was fitted to, encoded by the bundle's lookups.
        folder: where the bundle is written.
        options: budget and limits.
    """
    model = for_one_user(folded(composed(traced.backbone, traced.heads)))
    tables = None
    if held_out.item_rows is not None:
        tables = tabulated(model, held_out.lookups.items, options.table_bytes)
    exact = model if tables is None else tables
    made = Serving(
        exact=folder.write(exact, EXACT_FILE),
        table_bytes=size_bytes(exact),
        prompt_head=folder.write(for_one_user(traced.prompt_head), PROMPTS_FILE),
    )
    candidate = quantised(exact) if options.quantise else None
    if candidate is None:
        return made
    spec = folder.write(candidate, QUANTISED_FILE)
    pair = (ServingSession(folder.folder, made.exact), ServingSession(folder.folder, spec))
    evidence, drift = compare(pair, held_out, list(traced.heads))
    passed = all(_passes(e, options) for e in evidence)
    if not passed:
        folder.remove(QUANTISED_FILE)
    return made.model_copy(
        update={
            "quantised": spec if passed else None,
            "drift": drift,
            "auc_loss": options.auc_loss,
            "overlap": options.overlap,
            "evidence": evidence,
        }
    )


def _passes(evidence: Evidence, options: ServingOptions) -> bool:
    exact, other = evidence.auc, evidence.auc_quantised
    lost = 0.0 if exact is None or other is None else exact - other
    return lost <= options.auc_loss and evidence.overlap >= options.overlap
