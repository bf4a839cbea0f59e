"""What rounds of measuring tell: medians, ratios of what was measured side by side, growth.

    one number per round --Rounds--> median, lowest, highest
    two of them ----------over-----> their ratio, round by round: a slow minute slows both sides
    sizes, medians -------growth---> what one more costs, and how well a line says so

A ratio of medians would mix rounds that did not share their minute; this one does not.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from benchmarks.results import Figure

Sign = Literal["<=", ">="]


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit that a median must keep."""

    sign: Sign
    limit: float

    def holds(self, value: float) -> bool:
        return value <= self.limit if self.sign == "<=" else value >= self.limit

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Rounds:
    """One measure, once per round, in the order of the rounds."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        if not values:
            raise ValueError("a measure needs at least one round")
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.values), max(self.values)

    def over(self, other: Rounds) -> Rounds:
        """Ratios of the same rounds."""
        return Rounds(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def scaled(self, factor: float) -> Rounds:
        return Rounds(tuple(value * factor for value in self.values))

    def figure(self, name: str, unit: str, command: str, goal: Goal | None = None) -> Figure:
        """The median as a figure; the spread is the lowest and the highest round."""
        return Figure(
            name=name,
            value=self.median,
            unit=unit,
            spread=self.spread,
            goal=None if goal is None else str(goal),
            holds=None if goal is None else goal.holds(self.median),
            command=command,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """cost = fixed + each * size.

    Attributes:
        worst: the largest distance of a measured cost from the line, as a share of that cost.
    """

    fixed: float
    each: float
    worst: float


def line(sizes: Sequence[int], costs: Sequence[float]) -> Line:
    """The line nearest to the costs in proportion: a millisecond in ten counts as one in a hundred.

    Raises:
        ValueError: fewer than two sizes, or a cost that is not positive.
    """
    x, y = np.asarray(sizes, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if len(x) < 2 or len(x) != len(y) or not (y > 0).all():  # noqa: PLR2004
        raise ValueError(f"a line needs two positive costs or more; got {costs} at {sizes}")
    each, fixed = np.polyfit(x, y, 1, w=1 / y)
    worst = float(np.abs((fixed + each * x) / y - 1).max())
    return Line(float(fixed), float(each), worst)


def worst_doubling(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The largest factor by which a cost grows where its size doubles.

    Raises:
        ValueError: no size is twice another.
    """
    cost = dict(zip(sizes, costs, strict=True))
    found = [cost[2 * size] / cost[size] for size in sizes if 2 * size in cost]
    if not found:
        raise ValueError(f"no size of {list(sizes)} is twice another")
    return max(found)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all values does not exceed."""
    if not values:
        raise ValueError("no answer came: there is nothing to take a percentile of")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
