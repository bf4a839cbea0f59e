"""docs/BENCHMARKS.md, written from benchmarks/results/ and from nothing else.

results/serving.json, peers.json (each if there) --write_document--> a page of Markdown

`python -m benchmarks.serving_document` writes it; so do the benchmarks when they end.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality_document import table
from benchmarks.results import FOLDER, Figure, Results, read_results

DOCUMENT = FOLDER.parents[1] / "docs" / "BENCHMARKS.md"
_PARTS = {"serving": "Serving, by itself", "peers": "Beside other servers"}
_COMPARED = {
    "serving": "One worker on one core, the caller on another. 8 bits and exact (TASKGRAFT_EXACT) "
    "are asked in turn; the bare loop is a process on the same core that runs the same graphs on "
    "arrays made beforehand and does nothing else. A figure is the median of the rounds, with "
    "the lowest and the highest; a ratio is taken within each round. Latencies and stages are of "
    "one caller, rates of several. `even` and `poisson` ask at 70 % of the peak, whether or not "
    "they are answered; random arrivals queue by themselves, so the goal is for even ones.",
    "peers": "The same checkpoint. taskgraft gets raw ids, reads features and histories from its "
    "own store, and runs its own graphs. Peers have no encoder and no feature store: they get "
    "arrays that were encoded before the clock started, which spares them work that taskgraft "
    "does, and run the plain export: one float32 graph in which every row carries its user's "
    "fields and history. Each has an environment of its own and is set up as its documents advise "
    "for one core (`benchmarks/peers/`): one worker, uvloop where it can use it, no log line per "
    "request, arrays as bytes where its door takes bytes and else as base64 in JSON. Triton is "
    "its Python backend with ONNX Runtime; no wheel carries its own ONNX Runtime backend. All "
    "have one core and one ONNX Runtime thread; scores were checked equal before timing, exact "
    "and peers' to 1e-5, 8 bits to what the export's gate allows.\n\n"
    "Rates are of callers who ask again when they are answered (closed loop), at whichever of 4 "
    "and 16 callers serves a server best. Latencies are of requests sent at a steady 70 % of that "
    "server's own rate, whether or not they are answered (open loop), from the moment at which a "
    "request was due. Only the best peer of each size is judged against the goal. Part of the "
    "distance is the graph, not the server: it is what taskgraft's export is for.",
}
_OPENING = """# Benchmarks

This page is written by `make bench` and `make bench-peers` from `benchmarks/results/`; no figure in
it was typed.
"""


def main() -> int:
    write_document()
    return 0


def write_document(results: Path = FOLDER, document: Path = DOCUMENT) -> Path:
    """Write the page from the files that are there.

    Raises:
        ValueError: none is, or one is of another form.
    """
    found = {n: read_results(n, results) for n in _PARTS if (results / f"{n}.json").exists()}
    if not found:
        raise ValueError(f"{results} holds neither serving.json nor peers.json: run make bench")
    document.write_text(page(found), encoding="utf-8")
    return document


def page(found: dict[str, Results]) -> str:
    """The whole text."""
    judged = [f for results in found.values() for f in results.figures if f.holds is not None]
    return "\n".join([_OPENING, _promises(judged), *(_part(n, r) for n, r in found.items())])


def _promises(judged: Sequence[Figure]) -> str:
    kept = sum(figure.holds is True for figure in judged)
    text = f"## What was promised\n\n{kept} of {len(judged)} goals hold on these runs.\n\n"
    # What does not hold comes first: it is what a reader must not overlook.
    rows = [
        (*_row(figure), figure.goal or "", "holds" if figure.holds else "**does not hold**")
        for figure in sorted(judged, key=lambda figure: figure.holds is True)
    ]
    return text + table(("what", "measured", "unit", "goal", "verdict"), rows)


def _part(name: str, results: Results) -> str:
    machine = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in results.machine.items())
    notes = "; ".join(f"{k.replace('/', ' ')}: {v}" for k, v in results.notes.items())
    rows = [_row(figure) for figure in results.figures]
    return (
        f"## {_PARTS[name]}\n\n{_COMPARED[name]}\n\nMachine: {machine}.\n\nRun with {notes}.\n\n"
        + table(("what", "measured", "unit"), rows)
    )


def _row(figure: Figure) -> tuple[str, str, str]:
    name = figure.name.partition("/")[2].replace("/", " · ")
    value = "" if figure.value is None else _number(figure.value)
    if figure.spread is not None:
        value += " [{}, {}]".format(*map(_number, figure.spread))
    return name, value, figure.unit


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004


if __name__ == "__main__":
    sys.exit(main())
