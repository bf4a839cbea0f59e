"""`taskgraft inspect` on a terminal: what a bundle or a prompt file holds, every byte checked.

BundleView --show_bundle--> a tree of its graphs, tables      PromptView --show_prompt--> tables
"""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from commands.bundle_view import BundleView, Part, PromptView, prompt_bytes, shape
from commands.screen import Screen, pairs, table
from contract.manifest import Serving


def show_bundle(screen: Screen, view: BundleView, report: Path | None = None) -> None:
    """Show a bundle; report is the page that was written about it."""
    manifest, schema = view.bundle.manifest, view.bundle.lookups.schema
    columns = ("task", "test AUC", "parameters")
    tasks = [(task.name, task.metrics.get("auc"), task.parameters) for task in manifest.tasks]
    fields = [(f.name, f.side, f.kind) for f in schema.fields]
    document: dict[str, object] = {"kind": "bundle", "manifest": manifest, "schema": schema}
    document["seconds"] = {file: dict(costs) for file, costs in view.seconds.items()}
    document["report"] = report
    screen.show(
        document,
        pairs(f"bundle {manifest.name}: every file is the one that was exported", view.facts),
        graph_tree(view),
        *([_costs(view)] if view.seconds else []),
        *([_evidence(manifest.serving)] if manifest.serving and manifest.serving.evidence else []),
        table("Tasks", columns, tasks),
        table("Fields", ("field", "side", "kind"), fields),
    )


def graph_tree(view: BundleView) -> Tree:
    """What reads what."""
    backbone, *readers = view.general
    tree = Tree(Text(f"bundle {view.bundle.manifest.name}", "bold"), guide_style="dim")
    general = tree.add("any number of users")
    trunk = general.add(_branch("backbone", backbone))
    for part in readers:
        grafted = part is readers[-1]
        label = _branch("every grafted task" if grafted else f"task {part.name}", part)
        if grafted:
            label.append(f", {prompt_bytes(view.bundle.manifest) / 1e3:.1f} kB a task", "dim")
        trunk.add(label)
    if view.serving:
        request = tree.add("a request: one user, all tasks, and the representation")
        for part in view.serving:
            request.add(_branch(part.name, part))
    return tree


def _branch(name: str, part: Part) -> Text:
    gives = ", ".join(f"{spec.name} {shape(spec)}" for spec in part.graph.outputs)
    label = Text(name)
    label.append(f"  {part.graph.file}, {part.size_bytes / 1e3:,.1f} kB", "dim")
    return label.append(f" -> {gives}", "dim")


def _costs(view: BundleView) -> Table:
    rows = []
    for part in view.parts:
        costs = view.seconds[part.graph.file]
        rows.append((part.graph.file, *(f"{seconds * 1e6:,.0f}" for seconds in costs.values())))
    counts = [f"{count} rows" for count in next(iter(view.seconds.values()))]
    return table("Microseconds a run, one thread, here", ("graph", *counts), rows)


def _evidence(serving: Serving) -> Table:
    rows = [(e.task, e.rows, e.auc, e.auc_quantised, e.overlap) for e in serving.evidence]
    verdict = "taken" if serving.quantised is not None else "refused"
    columns = ("task", "rows", "AUC", "in 8 bits", "top 10 in common")
    return table(f"8 bits: {verdict}", columns, rows)


def show_prompt(screen: Screen, view: PromptView, report: Path | None = None) -> None:
    """Show a prompt; report is the page that was written about it."""
    prompt, header = view.prompt, view.prompt.header
    # A file is read in no order of its own.
    tensors = [(name, a.dtype.name, str(a.shape)) for name, a in sorted(prompt.tensors.items())]
    document = {
        "kind": "prompt",
        "header": header,
        "sha256": prompt.sha256,
        "size_bytes": prompt.size_bytes,
        "tensors": {name: list(array.shape) for name, array in prompt.tensors.items()},
        "attention": view.attention,
        "report": report,
    }
    heard = [*view.attention.items(), *((f"gate: {name}", w) for name, w in view.gate.items())]
    screen.show(
        document,
        pairs(f"prompt for task {header.task}: whole and unaltered", view.facts),
        table("Figures when it was tuned", ("what", "value"), list(header.metrics.items())),
        *([table("Attention on the golden rows", ("task", "weight"), heard)] if heard else []),
        table("Tensors", ("tensor", "dtype", "shape"), tensors),
    )
