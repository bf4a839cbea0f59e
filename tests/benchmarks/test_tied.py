"""A service started for a measurement ends with it, however it ends."""

from __future__ import annotations

import os
import select
import subprocess
import sys

from benchmarks import tied

# It starts a tied command, tells its process id, and stays.
MEASURING = f"""
import os, subprocess, sys, time
command = [sys.executable, "-IS", {tied.__file__!r}, str(os.getpid()), "sleep", "60"]
print(subprocess.Popen(command).pid, flush=True)
time.sleep(60)
"""
TIED = [sys.executable, "-IS", tied.__file__]
LEAVING = [sys.executable, "-c", "raise SystemExit(3)"]


def test_a_killed_measurement_takes_what_it_started_along() -> None:
    measuring = subprocess.Popen([sys.executable, "-c", MEASURING], stdout=subprocess.PIPE)
    assert measuring.stdout is not None
    started = os.pidfd_open(int(measuring.stdout.readline()))
    measuring.kill()
    measuring.communicate()
    assert select.select([started], [], [], 30)[0]
    os.close(started)


def test_a_command_leaves_with_its_own_code() -> None:
    assert subprocess.run([*TIED, str(os.getpid()), *LEAVING], check=False).returncode == 3


def test_nothing_is_started_for_who_is_gone_already() -> None:
    assert subprocess.run([*TIED, str(os.getppid()), *LEAVING], check=False).returncode == 0
