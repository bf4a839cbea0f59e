"""Cores at hand, by mask and by quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.cores import cores_at_hand, engine_threads

MASK = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", MASK), ("50000 100000", 1), ("9900000 100000", MASK), ("", MASK)],
)
def test_a_containers_quota_bounds_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert cores_at_hand(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("-1", MASK)])
def test_the_older_form_of_a_quota_is_read_too(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores_at_hand(tmp_path) == cores


def test_without_a_control_group_the_mask_says_it(tmp_path: Path) -> None:
    assert cores_at_hand(tmp_path) == MASK


@pytest.mark.parametrize(("workers", "threads"), [(1, 8), (3, 2), (8, 1), (20, 1)])
def test_all_workers_together_run_no_more_threads_than_there_are_cores(
    workers: int, threads: int
) -> None:
    assert engine_threads(workers, cores=8) == threads
