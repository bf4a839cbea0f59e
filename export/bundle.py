"""A checkpoint to a bundle the service can open.

    Checkpoint + Dataset (for golden rows) --export_bundle--> folder, or ExportError | ParityError

Everything is written aside; the folder appears only after the graphs have scored like PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import onnx
import onnxruntime
import torch

from contract.aside import written_aside
from contract.bundle import GOLDEN_FILE, LOOKUPS_FOLDER, list_files, seal_bundle
from contract.manifest import FORMAT_VERSION, Manifest, TaskEntry
from contract.prompt import Scalar
from contract.schema import TensorSpec
from export.golden import golden_requests
from export.graph import GraphFolder, to_onnx
from export.modules import (
    BackboneGraph,
    HeadGraph,
    PromptFormGraph,
    PromptHeadGraph,
    event_specs,
    prepared_specs,
    prompt_specs,
    representation_specs,
    value_specs,
)
from export.parity import PROMPTS, Graphs, check_parity, check_serving
from export.quality import ServingSession
from export.serving import ServingOptions, Traced, write_serving
from training.checkpoint import Checkpoint
from training.config import TuneConfig
from training.dataset import Dataset
from training.dtrn_bank import DtrnPromptBank
from training.dtrn_prompt import DtrnPrompt, new_prompt
from training.metrics import TaskMetrics
from training.model import MultiTaskModel
from training.prompt import PromptHead
from training.prompt_bank import PromptBank

TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class ExportResult:
    """An exported bundle.

    Attributes:
        parity: the largest difference in probability that was found between PyTorch and the graphs.
    """

    folder: Path
    manifest: Manifest
    parity: float
    seconds: float


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export may spend and lose.

    Attributes:
        tolerance: the largest accepted difference in probability from PyTorch.
        serving: of the graphs that answer requests.
        prompts: how the bundle's prompts will be tuned, which decides their form; by default as
            the checkpoint says.
        provenance: what else the manifest shall tell of the bundle's making.
    """

    tolerance: float = TOLERANCE
    prompts: TuneConfig | None = None
    serving: ServingOptions = field(default_factory=ServingOptions)
    provenance: Mapping[str, Scalar] = field(default_factory=dict)


def export_bundle(
    checkpoint: Checkpoint,
    dataset: Dataset,
    folder: Path,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Export a backbone with its heads; whatever stood at folder is replaced as a whole.

    Args:
        checkpoint: the trained backbone.
        dataset: held-out rows of data prepared with the checkpoint's lookups; they give the golden
            rows, and decide whether 8 bits are good enough.
        folder: the bundle's place.
        options: tolerance, budgets, limits.

    Raises:
        ParityError: the graphs do not score as PyTorch does; nothing was published.
        ExportError: the model cannot be exported.
        ConfigError: the backbone cannot have such prompts.
    """
    started = perf_counter()
    options = options or ExportOptions()
    model = checkpoint.model.eval()
    prompts = _fresh_prompts(model, options.prompts or checkpoint.card.config.tune)
    with written_aside(folder) as aside:
        traced, place = trace(model, prompts[0]), GraphFolder(aside)
        graphs = write_graphs(traced, place)
        serving = write_serving(traced, dataset, place, options.serving)
        parity = check_parity(model, prompts, graphs, options.tolerance)
        one = ServingSession(aside, serving.exact)
        parity = max(parity, check_serving(model, one, dataset, options.tolerance))
        checkpoint.lookups.save(aside / LOOKUPS_FOLDER)
        golden = [asdict(g) for g in golden_requests(checkpoint, dataset)]
        (aside / GOLDEN_FILE).write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
        card = checkpoint.card
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            name=card.config.name,
            fingerprint=card.fingerprint,
            schema_digest=checkpoint.schema.digest(),
            table_rows=checkpoint.schema.table_rows,
            backbone=graphs.backbone,
            tasks=tuple(_task_entry(checkpoint, t, graphs) for t in model.tasks),
            prompt_form=graphs.prompt_form,
            prompt_head=graphs.prompt_head,
            prompt_tensors=prompt_specs(prompts[0]),
            tolerance=options.tolerance,
            backbone_parameters=sum(p.numel() for p in model.parameters()),
            provenance={**_provenance(checkpoint, parity), **options.provenance},
            serving=serving,
            files=list_files(aside),
        )
        seal_bundle(aside, manifest)
    return ExportResult(folder, manifest, parity, perf_counter() - started)


def _fresh_prompts(model: MultiTaskModel, config: TuneConfig) -> list[PromptHead | DtrnPrompt]:
    """Untrained prompts of the configured kind: they fix the shape, and prove the graph."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return [new_prompt(config, model) for _ in range(PROMPTS)]


def trace(model: MultiTaskModel, prompt: PromptHead | DtrnPrompt) -> Traced:
    """Export every graph of a model; prompt is any of those that it shall take."""
    tensors = prompt_specs(prompt)
    conditioned = isinstance(prompt, DtrnPrompt)
    representation = representation_specs(model)
    more = event_specs(model) if conditioned else value_specs(prompt)
    read = (*representation, *more)
    outputs = [spec.name for spec in read if spec.name != "row_user"]
    keys = None if "keys" in {spec.name for spec in tensors} else model.mixer.keys
    bank = DtrnPromptBank(model, keys) if conditioned else PromptBank(keys)
    stacked = [TensorSpec(s.name, s.dtype, ("P", *s.shape)) for s in tensors]
    prepared = prepared_specs(bank, stacked)
    names = [spec.name for spec in prepared]
    return Traced(
        backbone=to_onnx(BackboneGraph(model, prompt), model.schema.inputs(), outputs),
        heads={
            task: to_onnx(HeadGraph(model.head(at)), representation, ["score"])
            for at, task in enumerate(model.tasks)
        },
        prompt_form=to_onnx(PromptFormGraph(bank, names), stacked, names),
        prompt_head=to_onnx(PromptHeadGraph(bank), [*read, *prepared], ["scores"]),
    )


def write_graphs(traced: Traced, folder: GraphFolder) -> Graphs:
    """Write the graphs that take any number of users."""
    return Graphs(
        folder.folder,
        folder.write(traced.backbone, "backbone.onnx"),
        {task: folder.write(head, f"heads/{task}.onnx") for task, head in traced.heads.items()},
        folder.write(traced.prompt_form, "prompt_form.onnx"),
        folder.write(traced.prompt_head, "prompt_head.onnx"),
    )


def _provenance(checkpoint: Checkpoint, parity: float) -> dict[str, Scalar]:
    card = checkpoint.card
    return {
        "bottom": card.config.model.bottom,
        "mixer": card.config.model.mixer,
        "seed": card.seed,
        "parity": parity,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _task_entry(checkpoint: Checkpoint, task: str, graphs: Graphs) -> TaskEntry:
    found = checkpoint.card.metrics.get("test", {}).get(task)
    metrics = {} if found is None else numbers(found)
    head = checkpoint.model.head(checkpoint.model.tasks.index(task))
    parameters = sum(tensor.numel() for tensor in head.state_dict().values())
    graph = graphs.heads[task]
    return TaskEntry(name=task, graph=graph, parameters=parameters, metrics=metrics)


def numbers(metrics: TaskMetrics) -> dict[str, float]:
    """The plain numbers among a task's figures, for headers and manifests."""
    return {n: float(v) for n, v in asdict(metrics).items() if isinstance(v, int | float)}
