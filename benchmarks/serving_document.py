"""docs/BENCHMARKS.md, written from benchmarks/results/ and from nothing else.

results/serving.json, peers.json, graft.json ... (each if there) --write_document--> a page

`python -m benchmarks.serving_document` writes it; so do the benchmarks when they end.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality_document import table
from benchmarks.results import FOLDER, Figure, Results, read_results, write_results


@dataclass(frozen=True, slots=True)
class Part:
    """One results file on the page: its title, and what was compared with what."""

    title: str
    compared: str


DOCUMENT = FOLDER.parents[1] / "docs" / "BENCHMARKS.md"
log = logging.getLogger("bench")
_PARTS = {
    "serving": Part(
        "Serving, by itself",
        "One worker on one core, the caller on another. 8 bits and exact (TASKGRAFT_EXACT) are "
        "asked in turn; the bare loop is a process on the same core that runs the same graphs "
        "on arrays made beforehand and does nothing else. Users return: a few of them ask again "
        "and again, and the service encodes a user anew only when stored features have changed. "
        "`new users` is the same service with nobody remembered (TASKGRAFT_NEAR_CACHE_BYTES=0), "
        "so each request pays for its user in full. A figure is the median of the rounds, "
        "with the lowest and the highest; a ratio is taken within each round. Latencies and "
        "stages are of one caller, rates of several. `even` and `poisson` ask at 70 % of the "
        "peak, whether or not they are answered; random arrivals queue by themselves, so the "
        "goal is for even ones. `graphs alone` is the bare loop, called evenly at the same pace: "
        "the tail that the machine gives to whatever runs on it.",
    ),
    "peers": Part(
        "Beside other servers",
        "The same checkpoint. taskgraft gets raw ids, reads features and histories from its own "
        "store, and runs its own graphs. Peers have no encoder and no feature store: they get "
        "arrays that were encoded before the clock started, which spares them work that "
        "taskgraft does: it remembers no user here (TASKGRAFT_NEAR_CACHE_BYTES=0) and encodes "
        "each request in full. Peers run the plain export: one float32 graph in which every row "
        "carries its user's fields and history. Each has an environment of its own and is set up "
        "as its documents advise for one core (`benchmarks/peers/`): one worker, uvloop where it "
        "can use it, no log line per request, arrays as bytes where its door takes bytes and else "
        "as base64 in JSON. Triton is its Python backend with ONNX Runtime; no wheel carries "
        "its own ONNX Runtime backend. All have one core and one ONNX Runtime thread; scores "
        "were checked equal before timing, exact and peers' to 1e-5, 8 bits to what the "
        "export's gate allows.\n\n"
        "Rates are of callers who ask again when they are answered (closed loop), at whichever "
        "of 4 and 16 callers serves a server best. Latencies are of requests sent at a steady "
        "70 % of that server's own rate, whether or not they are answered (open loop), from the "
        "moment at which a request was due. Only the best peer of each size is judged against "
        "the goal. Part of the distance is the graph, not the server: it is what taskgraft's "
        "export is for.",
    ),
    "graft": Part(
        "Grafting under load",
        "Services of several workers under a steady load of 100 candidates for all tasks, sent "
        "whether or not earlier ones are answered. Stretches of the load alone and of the same "
        "load while one task is grafted and rolled back take turns; a ratio is of neighbouring "
        "stretches. Two of three swaps graft one of a dozen files in turn, the third rolls back; "
        "one that changes nothing counts as failed. Whoever grafts is a process of its own, but "
        "on the same cores as all others. A change is visible when every worker alive has told "
        "that it serves it. Every answer is checked: one version, one set of scores. Memory is "
        "first looked at after 10,000 requests and 500 swaps under load: until then workers copy "
        "pages that they inherited, and touch those of slots once.",
    ),
    "graft_replicas": Part(
        "Grafting on several replicas",
        "The same with several services that share one Redis as their task store.",
    ),
    "upgrade": Part(
        "Another backbone under load",
        "The same load while the whole backbone is exchanged for another one and back, nothing "
        "kept for the way back.",
    ),
    "overload": Part(
        "More than can be served",
        "A service on one core is asked at 1, 2 and 3 times the rate that it reached, whether "
        "or not it answers, with health checks beside it. Goodput is what is answered within "
        "the deadline; the peak is measured before and after each load.",
    ),
    "redis_faults": Part(
        "Redis in trouble",
        "A service whose feature store is Redis, behind a proxy that makes trouble, under a "
        "steady load of one user who was scored before and one who never was.",
    ),
    "images": Part(
        "Images",
        "The service's image, built by the project's container file, and the time from `run` "
        "until all its workers are ready.",
    ),
}
_OPENING = """# Benchmarks

This page is written from `benchmarks/results/` by the benchmarks themselves (`make bench`,
`bench-peers`, `bench-graft`, `bench-upgrade`, `bench-overload`, `bench-faults`, `bench-images`); no
figure in it was typed. What the models are worth, and how fast they are trained, is in
[QUALITY.md](QUALITY.md).
"""


def main() -> int:
    write_document()
    return 0


def publish(
    name: str,
    machine: dict[str, str | int | float],
    figures: Sequence[Figure],
    notes: dict[str, str],
    results: Path = FOLDER,
) -> None:
    """Write what a benchmark found, and the page, unless the results go to another folder."""
    path = write_results(name, machine, figures, notes, results)
    log.info("written: %s", path.name)
    if results == FOLDER:
        write_document()


def write_document(results: Path = FOLDER, document: Path = DOCUMENT) -> Path:
    """Write the page from the files that are there.

    Raises:
        ValueError: none is, or one is of another form.
    """
    found = {n: read_results(n, results) for n in _PARTS if (results / f"{n}.json").exists()}
    if not found:
        raise ValueError(f"{results} holds no results of serving: run make bench")
    document.write_text(page(found), encoding="utf-8")
    return document


def page(found: dict[str, Results]) -> str:
    """The whole text."""
    return "\n".join([_OPENING, _promises(found), *(_part(n, r) for n, r in found.items())])


def _promises(found: dict[str, Results]) -> str:
    judged = [
        (_PARTS[name].title, figure)
        for name, results in found.items()
        for figure in results.figures
        if figure.holds is not None
    ]
    kept = sum(figure.holds is True for _, figure in judged)
    text = f"## What was promised\n\n{kept} of {len(judged)} goals hold on these runs.\n\n"
    # What does not hold comes first: it is what a reader must not overlook.
    rows = [
        (title, *_row(figure), figure.goal or "", "holds" if figure.holds else "**does not hold**")
        for title, figure in sorted(judged, key=lambda one: one[1].holds is True)
    ]
    return text + table(("where", "what", "measured", "unit", "goal", "verdict"), rows)


def _part(name: str, results: Results) -> str:
    part = _PARTS[name]
    machine = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in results.machine.items())
    notes = "; ".join(f"{k.replace('/', ' ')}: {v}" for k, v in results.notes.items())
    run = f"\n\nRun with {notes}." if notes else ""
    rows = [_row(figure) for figure in results.figures]
    return f"## {part.title}\n\n{part.compared}\n\nMachine: {machine}.{run}\n\n" + table(
        ("what", "measured", "unit"), rows
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
