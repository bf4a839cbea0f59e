"""A process that is asked answers, collects nothing meanwhile; nobody waits once it has ended."""

from __future__ import annotations

import gc
import os
import signal
from multiprocessing.connection import Connection

import pytest

from benchmarks.asked_process import AskedProcess, orders_from
from benchmarks.collector import uncollected


def collects(orders: Connection) -> None:
    for _ in orders_from(orders):
        orders.send(gc.isenabled())


def test_it_answers_and_collects_nothing() -> None:
    with AskedProcess(collects) as process:
        assert process.ask() is False


def test_nobody_waits_for_one_that_ended() -> None:
    with AskedProcess(collects) as process:
        number = process._process.pid
        assert number is not None
        os.kill(number, signal.SIGKILL)
        with pytest.raises((EOFError, OSError)):
            process.ask()


def test_this_process_collects_again_after_the_block() -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
