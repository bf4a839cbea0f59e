"""What each graph of a bundle costs here: one thread of ONNX Runtime, inputs drawn at random.

BundleView --measured--> the same with the median seconds of a run, by graph and rows
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from commands.bundle_view import BundleView, Part
from contract.bundle import Bundle
from contract.manifest import ITEM_ROWS
from contract.schema import TensorSpec
from export.session import GraphSession

ROWS = (1, 10, 100, 500)
_WARM_UPS, _LEAST, _MOST, _BUDGET_S = 3, 7, 300, 0.15


def measured(view: BundleView) -> BundleView:
    """Run every graph for one user, or one grafted task, at each number of rows."""
    return replace(view, seconds={p.graph.file: _costs(view.bundle, p) for p in view.parts})


def _costs(bundle: Bundle, part: Part) -> dict[int, float]:
    session = GraphSession(bundle.folder, part.graph)
    rng = np.random.default_rng(0)
    costs = {}
    for rows in ROWS:
        feed = {spec.name: _drawn(spec, rows, bundle, rng) for spec in part.graph.inputs}
        costs[rows] = _median_s(session, feed)
    return costs


def _drawn(spec: TensorSpec, rows: int, bundle: Bundle, rng: np.random.Generator) -> NDArray[Any]:
    """An input of one user's call: ids and places anywhere in their tables."""
    sizes = {"N": rows, "L": bundle.lookups.schema.history_length}
    shape = tuple(s if isinstance(s, int) else sizes.get(s, 1) for s in spec.shape)
    if spec.dtype == "float32":
        return rng.standard_normal(shape, dtype=np.float32)
    limits = {"row_user": 1, ITEM_ROWS: len(bundle.lookups.items) + 1}
    limit = limits.get(spec.name, bundle.manifest.table_rows)
    return rng.integers(0, limit, shape, dtype=np.int32)


def _median_s(session: GraphSession, feed: dict[str, NDArray[Any]]) -> float:
    for _ in range(_WARM_UPS):
        session.run(feed)
    taken: list[float] = []
    while len(taken) < _LEAST or (len(taken) < _MOST and sum(taken) < _BUDGET_S):
        started = perf_counter()
        session.run(feed)
        taken.append(perf_counter() - started)
    return median(taken)
