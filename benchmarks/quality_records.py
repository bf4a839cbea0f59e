"""What single runs found, a JSON line each, so that a run that was stopped goes on where it was.

FitRecord, GraftRecord --append--> records.jsonl --read_records--> the same, as they were made

A damaged last line (the machine went down while it was written) is passed over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskFigures(_Record):
    """One task on the test rows; draws are AUCs of resampled users (or rows), alike in all runs."""

    auc: float
    gauc: float | None
    logloss: float
    calibration_error: float
    rows: int
    positives: int
    draws: tuple[float, ...]


class FitRecord(_Record):
    """A model trained from the start. score is the sum of its validation AUCs.

    digest is that of the settings it was run with (Plan.digest).
    """

    kind: Literal["fit"] = "fit"
    data: str
    model: str
    trial: int
    seed: int
    score: float
    test: dict[str, TaskFigures]
    parameters: int
    seconds: float
    epochs: int
    rows_per_s: float
    digest: str = ""

    @property
    def key(self) -> str:
        return f"fit/{self.data}/{self.model}/{self.trial}/{self.seed}"


class WayFigures(_Record):
    """One way of learning a new task; seconds are those of the processor."""

    auc: float
    interval: tuple[float, float] | None
    gauc: float | None
    logloss: float
    parameters: int
    seconds: float
    against_joint: tuple[float, float] | None
    old_tasks: dict[str, float | None]


class GraftRecord(_Record):
    """A new task on one backbone, learned in every way; full is what a joint run trains."""

    kind: Literal["graft"] = "graft"
    data: str
    model: str
    task: str
    trial: int = 0
    seed: int
    backbone_parameters: int
    backbone_test: dict[str, float]
    full: int
    ways: dict[str, WayFigures]
    digest: str = ""

    @property
    def key(self) -> str:
        return f"graft/{self.data}/{self.model}/{self.task}/{self.seed}"


Record = Annotated[FitRecord | GraftRecord, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[FitRecord | GraftRecord] = TypeAdapter(Record)


def append(path: Path, record: FitRecord | GraftRecord) -> None:
    """Add a line; one write, so that two runners may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(record.model_dump_json() + "\n")


def read_records(path: Path) -> list[FitRecord | GraftRecord]:
    """Records in the order they were made; none if there is no file."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(_ADAPTER.validate_json(line))
        except ValidationError:
            continue
    return found
