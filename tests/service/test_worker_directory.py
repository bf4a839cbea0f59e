"""Acknowledgements as files: whose lease runs is alive, whatever the clocks and files say."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import StoreUnavailable
from service.task_store import Acknowledgement
from service.worker_directory import WorkerDirectory

ONE = Acknowledgement("one", 3, "serving")


def shift(monkeypatch: pytest.MonkeyPatch, clock: str, seconds: float) -> None:
    real = getattr(time, clock)
    monkeypatch.setattr(time, clock, lambda: real() + seconds)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_setting_the_clock_makes_nobody_dead_or_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    workers = WorkerDirectory(tmp_path)
    workers.write(ONE, lease_s=5)
    shift(monkeypatch, "time", seconds)
    assert workers.read() == (ONE,)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_what_is_long_past_or_from_before_a_restart_of_the_host_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    workers = WorkerDirectory(tmp_path)
    workers.write(ONE, lease_s=5)
    shift(monkeypatch, "monotonic", seconds)
    assert workers.read() == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 1000])
def test_nobody_counts_without_a_worker_whose_word_cannot_be_read(
    tmp_path: Path, content: bytes
) -> None:
    workers = WorkerDirectory(tmp_path)
    workers.write(ONE, lease_s=5)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        workers.read()
    workers.write(ONE, lease_s=5)
    assert workers.read() == (ONE,)


def test_what_nobody_has_written_for_long_and_nobody_can_read_is_removed(tmp_path: Path) -> None:
    workers = WorkerDirectory(tmp_path)
    workers.write(ONE, lease_s=5)
    other = tmp_path / "other.json"
    other.write_bytes(b'{"until": 1}')
    os.utime(other, (0, time.time() - 60))
    assert workers.read() == (ONE,)
    assert not other.exists()


def test_a_shorter_acknowledgement_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    workers = WorkerDirectory(tmp_path)
    workers.write(replace(ONE, reason="x" * 1000), lease_s=5)
    workers.write(ONE, lease_s=5)
    assert workers.read() == (ONE,)


def test_what_is_met_half_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    workers = WorkerDirectory(tmp_path)
    workers.write(replace(ONE, generation=4), lease_s=5)
    (path,) = tmp_path.iterdir()
    later = path.read_bytes()
    workers.write(ONE, lease_s=5)
    torn = later[:20] + path.read_bytes()[20:]
    path.write_bytes(torn)
    looked = threading.Event()
    whole = threading.Thread(target=lambda: (looked.wait(), path.write_bytes(later)))
    whole.start()
    real = time.sleep

    def sleep(seconds: float) -> None:
        looked.set()
        whole.join()
        real(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        assert workers.read() == (replace(ONE, generation=4),)


def test_a_folder_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    workers = WorkerDirectory(tmp_path / "gone")
    with pytest.raises(StoreUnavailable):
        workers.read()
    with pytest.raises(StoreUnavailable):
        workers.write(ONE, lease_s=5)
    workers.remove("one")
