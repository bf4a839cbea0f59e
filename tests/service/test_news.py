"""Word that something moved in a folder."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from service import news
from service.news import News, Pause, folder_news

LONG_S = 30.0


def waited_s(told: News) -> float:
    since = time.monotonic()
    told.wait(LONG_S)
    return time.monotonic() - since


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only word ends a wait."""
    monkeypatch.setattr(news, "_UNTOLD_S", LONG_S)


@pytest.mark.usefixtures("quiet")
def test_a_file_that_comes_by_a_rename_ends_the_wait(tmp_path: Path) -> None:
    told = folder_news(tmp_path, Pause(LONG_S, LONG_S), written=False)
    (tmp_path / "aside").symlink_to("states/1")
    (tmp_path / "aside").replace(tmp_path / "current")
    assert waited_s(told) < LONG_S / 2
    told.close()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("act", ["write", "delete"])
def test_a_file_written_in_place_or_deleted_ends_the_wait(tmp_path: Path, act: str) -> None:
    path = tmp_path / "worker.json"
    path.write_bytes(b"told")
    told = folder_news(tmp_path, Pause(LONG_S, LONG_S), written=True)
    if act == "write":
        path.write_bytes(b"told again")
    else:
        path.unlink()
    assert waited_s(told) < LONG_S / 2
    told.close()


@pytest.mark.usefixtures("quiet")
def test_what_came_before_the_wait_is_heard(tmp_path: Path) -> None:
    told = folder_news(tmp_path, Pause(LONG_S, LONG_S), written=True)
    threading.Thread(target=(tmp_path / "late").write_bytes, args=(b"",)).start()
    assert waited_s(told) < LONG_S / 2
    told.close()


def test_without_word_the_wait_ends_by_itself(tmp_path: Path) -> None:
    told = folder_news(tmp_path, Pause(LONG_S, LONG_S), written=True)
    assert waited_s(told) < LONG_S / 2
    told.close()


def test_where_the_kernel_gives_no_word_a_pause_must_do(tmp_path: Path) -> None:
    pause = Pause(0.01, 0.001)
    assert folder_news(tmp_path / "none", pause, written=False) is pause
    assert waited_s(pause) < LONG_S / 2


@pytest.mark.usefixtures("quiet")
def test_who_waits_is_woken_even_if_the_wait_begins_later(tmp_path: Path) -> None:
    for told in (
        folder_news(tmp_path, Pause(LONG_S, LONG_S), written=False),
        Pause(LONG_S, LONG_S),
    ):
        told.wake()
        assert waited_s(told) < LONG_S / 2
        told.close()
        told.wake()
