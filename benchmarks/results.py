"""The files that documents with figures are written from.

Figures --write_results--> benchmarks/results/NAME.json --read_results--> Results

    {"machine": {...}, "figures": [{"name", "value", "unit", "spread", "goal", "holds", "command"}]}

A file of another form is a ValueError that names it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FOLDER = Path(__file__).parent / "results"
Spread = tuple[float, float]
Row = tuple[float, str, str, bool]


class Figure(BaseModel):
    """One measured number.

    Attributes:
        name: words from the general to the particular, joined by "/".
        value: None where it could not be measured; the unit then says why.
        spread: the interval around the value, or None.
        goal: what is wanted, as ">= 3" or in words; None where nothing was promised.
        holds: whether the goal is reached; None without a goal.
        command: what measures it again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    unit: str
    spread: Spread | None = None
    goal: str | None = None
    holds: bool | None = None
    command: Annotated[str, Field(min_length=1)]

    @classmethod
    def judged(cls, name: str, command: str, row: Row, spread: Spread | None = None) -> Figure:
        """From value, unit, goal and whether it is reached; no goal is "", and holds nothing."""
        value, unit, goal, holds = row
        return cls(
            name=name,
            value=value,
            unit=unit,
            spread=spread,
            goal=goal or None,
            holds=holds if goal else None,
            command=command,
        )


class Results(BaseModel):
    """One file. notes are facts a reader needs beside the figures, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: dict[str, str | int | float]
    figures: tuple[Figure, ...]
    notes: dict[str, str] = {}

    def figure(self, name: str) -> Figure | None:
        """The figure of that name, or None."""
        return next((figure for figure in self.figures if figure.name == name), None)


def write_results(
    name: str,
    machine: dict[str, str | int | float],
    figures: Sequence[Figure],
    notes: dict[str, str] | None = None,
    folder: Path = FOLDER,
) -> Path:
    """Write benchmarks/results/NAME.json, replacing what was there."""
    results = Results(machine=machine, figures=tuple(figures), notes=notes or {})
    document = results.model_dump(mode="json")
    if not results.notes:
        del document["notes"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def read_results(name: str, folder: Path = FOLDER) -> Results:
    """Read benchmarks/results/NAME.json.

    Raises:
        ValueError: there is no such file, or it is not of this form.
    """
    path = folder / f"{name}.json"
    try:
        return Results.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise ValueError(f"there is no {path}; run the benchmark that writes it") from err
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path} is not a results file: {where}: {first['msg']}") from err
