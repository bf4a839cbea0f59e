"""What a command shows: progress on stderr, then a table or one JSON document on stdout.

training --Progress protocol--> Watcher: a bar and a line per epoch
document, tables --Screen.show--> stdout
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from training.progress import EpochRecord

_TINY, _SMALL = 1e-4, 10


class Screen:
    """One command's output. With as_json nothing but one JSON document reaches stdout."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self.out = Console(highlight=False)
        self.err = Console(stderr=True, highlight=False)

    def note(self, sentence: str) -> None:
        """Something worth knowing that is no result."""
        self.err.print(Text(sentence))

    def lines(self, document: object, text: str) -> None:
        """A result that another program reads line by line."""
        self.show(document) if self._as_json else self.out.file.write(text + "\n")

    def show(self, document: object, *tables: RenderableType) -> None:
        """The result, in the form that was asked for."""
        if self._as_json:
            text = json.dumps(document, default=_plain, ensure_ascii=False, indent=1)
            self.out.file.write(text + "\n")
            return
        for made in tables:
            self.out.print(made)

    @contextmanager
    def watching(self, *, epochs: bool = True) -> Iterator[Watcher]:
        """Draws what training tells until the block ends; epochs gives each epoch a line."""
        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.err,
            transient=True,
        )
        with bars:
            yield Watcher(bars, epochs=epochs)


class Watcher:
    """Draws one stage at a time; fits training/progress.py's Progress."""

    def __init__(self, bars: Progress, *, epochs: bool) -> None:
        self._bars = bars
        self._epochs = epochs
        self._stage: TaskID | None = None

    def stage(self, name: str, steps: int) -> None:
        if self._stage is not None:
            self._bars.remove_task(self._stage)
        self._stage = self._bars.add_task(name, total=steps, loss="")

    def step(self, loss: float) -> None:
        if self._stage is not None:
            self._bars.update(self._stage, advance=1, loss=f"loss {loss:.4f}")

    def epoch(self, record: EpochRecord) -> None:
        if not self._epochs:
            return
        shown = ", ".join(f"{task} {figure(value)}" for task, value in record.auc.items())
        line = f"epoch {record.epoch:>2} {record.seconds:6.1f} s {record.rows_per_s:>9,.0f} rows/s"
        mark = " *" if record.best else ""
        self._bars.console.print(indented(f"{line}  AUC {shown}{mark}", style="dim"))

    def warn(self, message: str) -> None:
        self._bars.console.print(indented(f"note: {message}", style="yellow"))


def indented(text: str | Text, style: str = "") -> Padding:
    """A paragraph that keeps its distance from the margin where it wraps."""
    paragraph = text if isinstance(text, Text) else Text(text, style)
    return Padding(paragraph, (0, 0, 0, 2), expand=False)


def interval(bounds: tuple[float, float] | None) -> str:
    """A confidence interval, short enough for a table."""
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table; numbers stand to the right."""
    made = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for at, column in enumerate(columns):
        right = bool(rows) and all(_numeric(row[at]) for row in rows)
        made.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell if isinstance(cell, str) else figure(cell)) for cell in row))
    return made


def pairs(title: str, values: Mapping[str, object]) -> Table:
    """Names and values, one below the other."""
    return table(title, ("what", "value"), list(values.items()))


def figure(value: object) -> str:
    """A value as people read it: 12,345 · 0.8123 · -."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _float(value)
    return str(value)


def _float(value: float) -> str:
    if value and abs(value) < _TINY:
        return f"{value:.1e}"
    if abs(value) < _SMALL:
        return f"{value:.4f}"
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.1f}"


def _numeric(cell: object) -> bool:
    if isinstance(cell, str):
        return cell[:1].isdigit() or cell[:2].strip("-+.").isdigit()
    return cell is None or isinstance(cell, (int, float))


def _plain(value: object) -> object:
    """For json: dataclasses as objects, paths as text, pydantic models as they dump themselves."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return value.as_posix()
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")
