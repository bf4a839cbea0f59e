"""A core that ran nobody is told apart from a slow program."""

from __future__ import annotations

import os
import signal
import time

import pytest

from benchmarks.heartbeat import Heartbeat


def test_an_absence_is_told_once() -> None:
    with Heartbeat(min(os.sched_getaffinity(0))) as beat:
        if beat.longest() is None:
            pytest.skip("going before all other processes needs CAP_SYS_NICE")
        number = beat._process.pid
        assert number is not None
        os.kill(number, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(number, signal.SIGCONT)
        longest = beat.longest()
        assert longest is not None
        assert longest > 0.4
