"""What `taskgraft inspect` looks at, ready to be shown in any form.

folder --view_bundle--> BundleView      file --view_prompt--> PromptView       every byte checked
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contract.bundle import Bundle, open_bundle
from contract.manifest import GraphSpec, Manifest
from contract.prompt import Prompt, Scalar, read_prompt
from contract.schema import TensorSpec

ATTENTION, GATE = "attention ", "gate "


@dataclass(frozen=True, slots=True)
class Part:
    """One graph: what it does, its place and interface, its bytes with weights."""

    name: str
    graph: GraphSpec
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BundleView:
    """A bundle's parts.

    Attributes:
        general: the graphs for any number of users: backbone, heads, prompt head.
        serving: the graphs that answer a request; none in bundles of the first format.
        seconds: what one run costs by file and rows, if it was measured.
    """

    bundle: Bundle
    general: tuple[Part, ...]
    serving: tuple[Part, ...]
    seconds: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (*self.general, *self.serving)

    @property
    def facts(self) -> dict[str, object]:
        manifest, lookups = self.bundle.manifest, self.bundle.lookups
        return {
            "fingerprint": manifest.fingerprint,
            "schema": manifest.schema_digest,
            "parameters": manifest.backbone_parameters,
            "items": len(lookups.items),
            "embedding rows": manifest.table_rows,
            "behaviours": ", ".join(lookups.schema.behaviours) or "none",
            "history length": lookups.schema.history_length,
            "files": len(manifest.files),
            "size": f"{sum(f.size_bytes for f in manifest.files.values()) / 1e6:.1f} MB",
            **manifest.provenance,
        }


@dataclass(frozen=True, slots=True)
class PromptView:
    """A prompt file; attention and gate are mean weights on its golden rows, if it tells them."""

    prompt: Prompt
    attention: dict[str, float]
    gate: dict[str, float]

    @property
    def facts(self) -> dict[str, object]:
        header, prompt = self.prompt.header, self.prompt
        told = {n: v for n, v in header.provenance.items() if not n.startswith((ATTENTION, GATE))}
        return {
            "backbone": header.backbone,
            "schema": header.schema_digest,
            "sha256": prompt.sha256,
            "size": f"{prompt.size_bytes / 1e3:.1f} kB",
            "parameters trained": header.trained_parameters,
            "golden rows": len(prompt.golden_scores),
            **told,
        }


def view_bundle(folder: Path) -> BundleView:
    """Open a bundle and name its parts.

    Raises:
        ContractError: it is damaged, or no bundle.
    """
    bundle = open_bundle(folder)
    manifest = bundle.manifest
    general = [Part("backbone", manifest.backbone, stored_bytes(manifest, manifest.backbone))]
    for task in manifest.tasks:
        general.append(Part(task.name, task.graph, stored_bytes(manifest, task.graph)))
    named: dict[str, GraphSpec | None] = {
        "prompt form": manifest.prompt_form,
        "prompt head": manifest.prompt_head,
    }
    general += _parts(manifest, named)
    serving: list[Part] = []
    if manifest.serving is not None:
        named = {"32 bits": manifest.serving.exact, "8 bits": manifest.serving.quantised}
        serving = _parts(manifest, named | {"prompts": manifest.serving.prompt_head})
    return BundleView(bundle, tuple(general), tuple(serving))


def _parts(manifest: Manifest, graphs: Mapping[str, GraphSpec | None]) -> list[Part]:
    return [
        Part(name, graph, stored_bytes(manifest, graph))
        for name, graph in graphs.items()
        if graph is not None
    ]


def view_prompt(path: Path) -> PromptView:
    """Read a prompt file.

    Raises:
        PromptMisfit: it is damaged, or no prompt.
    """
    prompt = read_prompt(path.read_bytes())
    told = prompt.header.provenance
    return PromptView(prompt, _weights(told, ATTENTION), _weights(told, GATE))


def stored_bytes(manifest: Manifest, graph: GraphSpec) -> int:
    """Of a graph and its weights, which lie beside it if they are large."""
    weights = Path(graph.file).with_suffix(".weights").as_posix()
    found = [manifest.files[name] for name in (graph.file, weights) if name in manifest.files]
    return sum(entry.size_bytes for entry in found)


def prompt_bytes(manifest: Manifest) -> int:
    """What one grafted task holds in memory."""
    return sum(_bytes(spec) for spec in manifest.prompt_tensors)


def shape(spec: TensorSpec) -> str:
    """Sizes and letters as text."""
    return " \N{MULTIPLICATION SIGN} ".join(str(size) for size in spec.shape)


def _bytes(spec: TensorSpec) -> int:
    count = 4
    for size in spec.shape:
        count *= size if isinstance(size, int) else 1
    return count


def _weights(told: Mapping[str, Scalar], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): float(value)
        for name, value in told.items()
        if name.startswith(prefix) and isinstance(value, float) and 0.0 <= value <= 1.0
    }
