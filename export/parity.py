"""Do the exported graphs score as PyTorch does? Every bundle answers before it is published.

    model + graph files --check_parity--> the largest difference, or ParityError that names it

Calls of 1 to 500 rows, one and several users, empty, short and full histories, padding, known and
unknown ids: row numbers are drawn from the whole table, so OOV rows occur like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.manifest import ITEM_ROWS, GraphSpec
from contract.schema import FeatureSchema
from export.errors import ParityError
from export.modules import inputs_of
from export.quality import ServingSession
from export.session import GraphSession
from training.dataset import Dataset
from training.dtrn_prompt import DtrnPrompt
from training.model import MultiTaskModel
from training.prompt import PromptHead

ROW_COUNTS = (1, 2, 3, 7, 64, 500)
USER_COUNTS = (1, 3)
PROMPTS = 3
Prompt = PromptHead | DtrnPrompt
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Graphs:
    """A bundle's graphs, where they are and what they take."""

    folder: Path
    backbone: GraphSpec
    heads: Mapping[str, GraphSpec]
    prompt_form: GraphSpec | None
    prompt_head: GraphSpec

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The graphs of an exported bundle."""
        manifest = bundle.manifest
        heads = {task.name: task.graph for task in manifest.tasks}
        return cls(
            bundle.folder, manifest.backbone, heads, manifest.prompt_form, manifest.prompt_head
        )


class Sessions:
    """The graphs of a bundle that take any number of users, by name."""

    def __init__(self, graphs: Graphs) -> None:
        specs = {"backbone": graphs.backbone, "prompts": graphs.prompt_head}
        if graphs.prompt_form is not None:
            specs["form"] = graphs.prompt_form
        specs |= {f"head {task}": spec for task, spec in graphs.heads.items()}
        self._sessions = {name: GraphSession(graphs.folder, s) for name, s in specs.items()}

    def run(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
        return self._sessions[name].run(arrays)

    def prepared(self, bank: Arrays) -> Arrays:
        """P prompts' tensors as the prompt head takes them."""
        return self.run("form", bank) if "form" in self._sessions else bank

    def represent(self, arrays: Arrays) -> Arrays:
        return {**self.run("backbone", arrays), "row_user": arrays["row_user"]}


def check_parity(
    model: MultiTaskModel, prompts: Sequence[Prompt], graphs: Graphs, tolerance: float
) -> float:
    """Compare all tasks and some prompts on many calls; the largest difference in probability.

    Raises:
        ParityError: a difference above the tolerance, a wrong shape or a value that is not finite.
    """
    sessions = Sessions(graphs)
    bank = sessions.prepared(_stack(prompts))
    worst = 0.0
    for call, arrays in calls(model.schema):
        expected = expected_scores(model, prompts, arrays)
        representation = sessions.represent(arrays)
        found = {t: sessions.run(f"head {t}", representation)["score"] for t in graphs.heads}
        columns = sessions.run("prompts", {**representation, **bank})["scores"]
        found |= {f"prompt {at}": columns[:, at] for at in range(len(prompts))}
        for name, want in expected.items():
            worst = max(worst, _difference(name, call, (found[name], want), tolerance))
    return worst


def check_serving(
    model: MultiTaskModel, session: ServingSession, dataset: Dataset, tolerance: float
) -> float:
    """The same for the exact serving graph: calls of one user, items of a catalogue if any.

    Raises:
        ParityError: as check_parity.
    """
    rng = np.random.default_rng(1)
    items, worst = dataset.lookups.items, 0.0
    for call, arrays in calls(model.schema, users=(1,)):
        if dataset.item_rows is not None:
            rows = rng.integers(0, len(items) + 1, len(arrays["row_user"]), dtype=np.int32)
            arrays |= {ITEM_ROWS: rows, **items.arrays(rows)}
        expected = expected_scores(model, [], arrays)
        found = session.scores(arrays)
        for column, task in enumerate(model.tasks):
            pair = (found[:, column], expected[task])
            worst = max(worst, _difference(f"serving {task}", call, pair, tolerance))
    return worst


def _difference(
    name: str, call: str, pair: tuple[NDArray[Any], NDArray[Any]], tolerance: float
) -> float:
    found, want = pair
    if found.shape != want.shape:
        raise ParityError(f"{name}: shape {found.shape}, PyTorch gives {want.shape} ({call})", 1.0)
    largest = float(np.abs(found - want).max(initial=0.0))
    if not largest <= tolerance:  # NaN is no parity either
        raise ParityError(
            f"{name}: the exported graph differs from PyTorch by {largest:.3g}, "
            f"more than {tolerance:.0e} ({call})",
            largest,
        )
    return largest


def expected_scores(
    model: MultiTaskModel, prompts: Sequence[Prompt], arrays: Arrays
) -> dict[str, NDArray[np.float32]]:
    """PyTorch's probabilities, (N,) per task and prompt."""
    inputs = inputs_of(model.schema, {n: torch.from_numpy(a) for n, a in arrays.items()})
    with torch.no_grad():
        scores = torch.sigmoid(model(inputs).logits)
        representation = model.represent(inputs)
        columns = [torch.sigmoid(prompt(representation)) for prompt in prompts]
    expected = {task: scores[:, at].numpy() for at, task in enumerate(model.tasks)}
    return expected | {f"prompt {at}": column.numpy() for at, column in enumerate(columns)}


def calls(
    schema: FeatureSchema, users: Sequence[int] = USER_COUNTS
) -> Iterator[tuple[str, Arrays]]:
    """Named calls over the whole range of what a service may meet."""
    rng = np.random.default_rng(0)
    lengths = sorted({1, min(2, schema.history_length or 1), schema.history_length or 1})
    for rows in ROW_COUNTS:
        for count in users:
            for length in lengths:
                for filled in ("empty", "random", "full"):
                    sizes = {"U": count, "N": rows, "L": length}
                    name = f"{rows} rows, {count} users, histories {filled} of {length}"
                    yield name, _draw(schema, sizes, filled, rng)
                    if not schema.behaviours:
                        break
                if not schema.behaviours:
                    break


def _draw(
    schema: FeatureSchema, sizes: Mapping[str, int], filled: str, rng: np.random.Generator
) -> Arrays:
    arrays: Arrays = {}
    for spec in schema.inputs():
        shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
        if spec.name == "row_user":
            arrays[spec.name] = np.sort(rng.integers(0, sizes["U"], shape)).astype(np.int32)
        elif spec.dtype == "float32":
            arrays[spec.name] = rng.random(shape, dtype=np.float32)
        else:
            lowest = 0 if spec.name.endswith("bags") else 1
            arrays[spec.name] = rng.integers(lowest, schema.table_rows, shape).astype(np.int32)
    if schema.behaviours and filled != "full":
        history = arrays["history"]
        most = history.shape[2] if filled == "random" else 0
        counts = rng.integers(0, most + 1, history.shape[:2])
        beyond = np.arange(history.shape[2]) >= counts[..., None]  # (U, M, L)
        history[beyond] = 0
    return arrays


def _stack(prompts: Sequence[Prompt]) -> Arrays:
    tensors = [prompt.bank_tensors() for prompt in prompts]
    return {name: torch.stack([t[name] for t in tensors]).numpy() for name in tensors[0]}
