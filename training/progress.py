"""What long work tells whoever watches: fit, tune, compare --Progress--> a bar, a log, nobody.

Training knows no terminal. A watcher may draw, write lines or raise (which ends the work).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch of stage 1 or stage 2; also a line of the checkpoint's history.

    Attributes:
        epoch: from 1.
        losses: means over the epoch's rows, by part; "total" is what was minimised.
        auc: validation AUC by task; None where the validation rows hold one class only.
        score: what early stopping looks at.
        environments: rows per environment after this epoch; empty where the model has none.
    """

    epoch: int
    seconds: float
    rows_per_s: float
    losses: dict[str, float]
    auc: dict[str, float | None]
    score: float
    best: bool
    environments: tuple[int, ...] = ()


class Progress(Protocol):
    """A watcher of long work."""

    def stage(self, name: str, steps: int) -> None:
        """A stage begins; it will take at most this many steps."""

    def step(self, loss: float) -> None:
        """One step of the stage is done."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch ended and was measured on the validation rows."""

    def warn(self, message: str) -> None:
        """Something the user should know, and what to do about it."""


class Silent:
    """Watches nothing."""

    def stage(self, name: str, steps: int) -> None:
        pass

    def step(self, loss: float) -> None:
        pass

    def epoch(self, record: EpochRecord) -> None:
        pass

    def warn(self, message: str) -> None:
        pass


SILENT = Silent()
