"""From values to places on a chart: (low, high) --Scale.around--> round ends and ticks between."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_FLAT = 0.02  # what a curve without any rise is drawn as
_SAME, _MOST = 1e-9, 12


@dataclass(frozen=True, slots=True)
class Scale:
    """low to high in steps of a round number."""

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Iterable[float], wanted: int = 3) -> Scale:
        """The closest round ends that hold all values, with about `wanted` steps."""
        found = list(values)
        low, high = min(found), max(found)
        if high - low < _SAME:
            low, high = low - _FLAT / 2, high + _FLAT / 2
        rough = (high - low) / wanted
        size = 10.0 ** math.floor(math.log10(rough))
        step = size * next(s for s in _STEPS if s >= rough / size - _SAME)
        return cls(
            math.floor(low / step + _SAME) * step, math.ceil(high / step - _SAME) * step, step
        )

    @property
    def ticks(self) -> tuple[float, ...]:
        steps = round((self.high - self.low) / self.step)
        return tuple(self.low + at * self.step for at in range(steps + 1))

    @property
    def decimals(self) -> int:
        """How many a tick needs."""
        near = self.step * _SAME
        return next((d for d in range(_MOST) if abs(round(self.step, d) - self.step) < near), _MOST)

    def label(self, value: float) -> str:
        """A tick as text."""
        return f"{value:.{self.decimals}f}"

    def share(self, value: float) -> float:
        """Where a value lies, 0 at low, 1 at high; what lies outside stands at the end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
