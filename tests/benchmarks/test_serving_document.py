"""docs/BENCHMARKS.md: what does not hold is said, and said first."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.results import Figure, write_results
from benchmarks.serving_document import write_document


def figure(name: str, *, holds: bool) -> Figure:
    spread = (1.0, 3.0)
    return Figure(
        name=name, value=2.0, unit="x", spread=spread, goal=">= 2", holds=holds, command="make it"
    )


def test_what_does_not_hold_comes_first(tmp_path: Path) -> None:
    figures = [figure("serving/kept", holds=True), figure("serving/missed", holds=False)]
    write_results("serving", {"cores": 2}, figures, folder=tmp_path)
    text = write_document(tmp_path, tmp_path / "page.md").read_text(encoding="utf-8")
    assert "1 of 2 goals hold" in text
    assert text.index(
        "| Serving, by itself | missed | 2 [1, 3] | x | >= 2 | **does not hold** |"
    ) < text.index("| Serving, by itself | kept")


def test_without_results_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run make bench"):
        write_document(tmp_path, tmp_path / "page.md")
    assert not (tmp_path / "page.md").exists()
