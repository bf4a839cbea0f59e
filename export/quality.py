"""What a cheaper serving graph costs: both score the same held-out rows.

two ServingSessions, Dataset --compare--> Evidence per task, the largest difference
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.manifest import ITEM_ROWS, Evidence
from export.composed import SCORES
from export.modules import arrays_of
from export.session import Arrays, GraphSession
from training.dataset import Dataset
from training.metrics import auc

_MOST_ROWS = 20_000
_LISTS, _CANDIDATES, _TOP = 100, 100, 10
Scores = NDArray[np.float32]


class ServingSession(GraphSession):
    """A serving graph."""

    def scores(self, arrays: Arrays) -> Scores:
        """(N, T) probabilities of one user."""
        return self.run(arrays, (SCORES,))[SCORES]


def compare(
    pair: tuple[ServingSession, ServingSession], held_out: Dataset, tasks: Sequence[str]
) -> tuple[tuple[Evidence, ...], float]:
    """Of an exact and a cheaper graph, what the second loses.

    Args:
        pair: exact, cheaper.
        held_out: rows that no weight was fitted to.
        tasks: of the columns of their scores.

    Returns:
        Evidence per task, and the largest difference in probability.
    """
    rows: list[Tensor] = []
    scored: list[tuple[Scores, Scores]] = []
    for chosen, arrays in requests(held_out, _MOST_ROWS):
        rows.append(chosen)
        scored.append((pair[0].scores(arrays), pair[1].scores(arrays)))
    at = torch.cat(rows)
    exact, cheaper = (np.concatenate(side) for side in zip(*scored, strict=True))
    overlaps = _overlaps(pair, held_out, (exact, cheaper))
    evidence = []
    for column, task in enumerate(tasks):
        known = held_out.tasks.index(task)
        labelled = held_out.mask[at, known].numpy()
        labels = held_out.labels[at, known].numpy()[labelled]
        evidence.append(
            Evidence(
                task=task,
                rows=len(labels),
                auc=auc(labels, exact[labelled, column]),
                auc_quantised=auc(labels, cheaper[labelled, column]),
                overlap=float(overlaps[column]),
            )
        )
    return tuple(evidence), float(np.abs(exact - cheaper).max())


def requests(dataset: Dataset, most_rows: int | None = None) -> Iterator[tuple[Tensor, Arrays]]:
    """Row numbers and inputs of each request, all or up to a number of rows."""
    order = torch.argsort(dataset.requests, stable=True)[:most_rows]
    sizes = torch.unique_consecutive(dataset.requests[order], return_counts=True)[1]
    for rows in torch.split(order, sizes.tolist()):
        arrays = arrays_of(dataset.batch(rows, ()).inputs)
        if dataset.item_rows is not None:
            arrays[ITEM_ROWS] = dataset.item_rows[rows].numpy().astype(np.int32)
        yield rows, arrays


def _overlaps(
    pair: tuple[ServingSession, ServingSession], held_out: Dataset, scores: tuple[Scores, Scores]
) -> NDArray[np.float64]:
    """Share of the exact top 10 that the cheaper graph has too, per task.

    Of items drawn for some users; without a catalogue, of held-out rows side by side.
    """
    lists = [
        (scores[0][start : start + _CANDIDATES], scores[1][start : start + _CANDIDATES])
        for start in range(0, min(len(scores[0]), _LISTS * _CANDIDATES), _CANDIDATES)
    ]
    if held_out.item_rows is not None:
        draw = np.random.default_rng(0)
        items = held_out.lookups.items
        lists = []
        for _, arrays in islice(requests(held_out, _MOST_ROWS), _LISTS):
            rows = draw.integers(0, len(items) + 1, _CANDIDATES, dtype=np.int32)
            arrays |= {
                ITEM_ROWS: rows,
                **items.arrays(rows),
                "row_user": np.zeros(_CANDIDATES, dtype=np.int32),
            }
            lists.append((pair[0].scores(arrays), pair[1].scores(arrays)))
    shares = [
        [len(np.intersect1d(best, also)) / len(best) for best, also in zip(*tops, strict=True)]
        for tops in (map(_top, listed) for listed in lists)
    ]
    means: NDArray[np.float64] = np.asarray(shares).mean(axis=0)
    return means


def _top(scores: Scores) -> NDArray[np.intp]:
    """(T, 10) places of the highest scores of each task."""
    return np.argsort(-scores, axis=0, kind="stable")[:_TOP].T
