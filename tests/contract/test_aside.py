from __future__ import annotations

from pathlib import Path

import pytest

from contract.aside import written_aside


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with written_aside(tmp_path / "b") as folder:
            (folder / "f").write_text(text)
        assert (tmp_path / "b" / "f").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_was_written_privately_can_be_read_by_others(tmp_path: Path) -> None:
    with written_aside(tmp_path / "b") as folder:
        (folder / "f").write_text("x")
        (folder / "f").chmod(0o600)
    assert (tmp_path / "b" / "f").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failure_at_any_step_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The steps that can fail are two renames: the old one away, the new one there."""
    with written_aside(tmp_path / "b") as folder:
        (folder / "f").write_text("old")
    real, calls = Path.rename, 0

    def rename(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError("no space left")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="no space"), written_aside(tmp_path / "b") as folder:
        (folder / "f").write_text("new")
    assert (tmp_path / "b" / "f").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
