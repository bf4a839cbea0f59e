"""What people and programs see of a result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.screen import Screen, figure, table
from training.progress import EpochRecord


@dataclass(frozen=True)
class Found:
    rows: int
    place: Path


def test_with_json_stdout_holds_one_document_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen(as_json=True)
    screen.note("a remark")
    screen.show({"found": Found(3, Path("a") / "b")}, table("A table", ("x",), [("y",)]))
    seen = capsys.readouterr()
    assert json.loads(seen.out) == {"found": {"rows": 3, "place": "a/b"}}
    assert seen.err == "a remark\n"


def test_without_json_the_tables_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().show({"rows": 3}, table("Splits", ("split", "rows"), [("train", 81_494)]))
    out = capsys.readouterr().out
    assert "Splits" in out
    assert "81,494" in out


def test_a_document_without_a_json_form_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        Screen(as_json=True).show({"x": object()})


def test_square_brackets_of_data_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.show({}, table("[bold]t[/bold]", ("x",), [("[red]movie[/red]",)]))
    screen.note("[b]n[/b]")
    seen = capsys.readouterr()
    assert "[red]movie[/red]" in seen.out
    assert "[b]n[/b]" in seen.err


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "yes"),
        (12345, "12,345"),
        (0.81234, "0.8123"),
        (2.4e-7, "2.4e-07"),
        (0.0, "0.0000"),
        (2232.0, "2,232"),
        (75.44, "75.4"),
    ],
)
def test_figures_read_well(value: object, shown: str) -> None:
    assert figure(value) == shown


def test_a_watched_epoch_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    auc = {"like": 0.8, "buy": None}
    record = EpochRecord(3, 1.5, 20_000.0, {"total": 0.5}, auc, score=0.8, best=True)
    with Screen().watching() as watcher:
        watcher.stage("fit", 2)
        watcher.step(0.5)
        watcher.epoch(record)
    seen = capsys.readouterr()
    assert "like 0.8000, buy -" in seen.err
    assert seen.out == ""
