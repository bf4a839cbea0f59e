"""What `inspect` shows, as pages.

BundleView --bundle_page--> HTML      PromptView --prompt_page--> HTML

Needs templates alone: neither PyTorch nor ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from commands.bundle_view import BundleView, Part, PromptView, prompt_bytes, shape
from commands.report.charts import strip
from commands.report.flow import Box, flow
from commands.report.page import render, size
from contract.schema import TensorSpec

_MOST_BOXES = 10
_TOLD_AT = 100  # rows


def bundle_page(view: BundleView) -> str:
    """A bundle: its graphs, sizes and costs."""
    manifest = view.bundle.manifest
    largest = max(part.size_bytes for part in view.parts)
    return render(
        "bundle.html",
        manifest=manifest,
        facts=view.facts,
        general=_general(view),
        serving=_serving(view),
        parts=view.parts,
        largest=largest,
        seconds=view.seconds,
        counts=list(next(iter(view.seconds.values()), {})),
        prompt_size=prompt_bytes(manifest),
        fields=view.bundle.lookups.schema.fields,
        vocabularies=view.bundle.lookups.schema.vocabularies,
    )


def prompt_page(view: PromptView) -> str:
    """A prompt file: header, tensors, attention, golden rows."""
    scores = [float(score) for score in view.prompt.golden_scores]
    header = view.prompt.header
    return render(
        "prompt.html",
        header=header,
        prompt=view.prompt,
        facts=view.facts,
        attention=view.attention,
        gate=view.gate,
        scores=scores,
        chart=strip(scores, f"golden scores of {header.task}"),
        # A file is read in no order of its own.
        inputs=sorted((n, a.dtype.name, a.shape) for n, a in view.prompt.golden_inputs.items()),
        tensors=sorted(
            (n, a.dtype.name, a.shape, a.nbytes) for n, a in view.prompt.tensors.items()
        ),
    )


def _general(view: BundleView) -> Markup:
    """Inputs, backbone, representation, heads."""
    backbone, *readers = view.general
    heads, grafted = readers[:-1], readers[-1]
    shown = [_graph(view, f"task {part.name}", part) for part in heads[:_MOST_BOXES]]
    if more := heads[_MOST_BOXES:]:
        shown.append(Box(f"{len(more)} more tasks", (size(sum(p.size_bytes for p in more)),)))
    each = f"{size(prompt_bytes(view.bundle.manifest))} a task"
    shown.append(_graph(view, "every grafted task", grafted, each))
    columns = [
        [_tensors("inputs", backbone.graph.inputs)],
        [_graph(view, "backbone", backbone)],
        [_tensors("representation", backbone.graph.outputs)],
        shown,
    ]
    return flow(columns, "inputs, backbone, representation, heads")


def _serving(view: BundleView) -> Markup | None:
    """Inputs of one user, the graph in 32 and in 8 bits, what comes out."""
    if not view.serving:
        return None
    exact = view.serving[0].graph
    scores = [spec for spec in exact.outputs if spec.name == "scores"]
    rest = [spec for spec in exact.outputs if spec.name != "scores"]
    columns = [
        [_tensors("inputs of one user", exact.inputs)],
        [_graph(view, part.name, part) for part in view.serving],
        [_tensors("all tasks", scores), _tensors("for grafted tasks", rest)],
    ]
    return flow(columns, "inputs of one user, serving graphs, outputs")


def _graph(view: BundleView, title: str, part: Part, *lines: str) -> Box:
    costs = view.seconds.get(part.graph.file, {})
    if _TOLD_AT in costs:
        lines = (*lines, f"{costs[_TOLD_AT] * 1e6:,.0f} µs at {_TOLD_AT} rows")
    return Box(title, (part.graph.file, size(part.size_bytes), *lines), main=True)


def _tensors(title: str, specs: Sequence[TensorSpec]) -> Box:
    return Box(title, tuple(f"{spec.name}  {shape(spec)}" for spec in specs))
