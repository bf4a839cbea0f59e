"""A peer's processes end with the benchmark, however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.peers import supervised

# A command with a daemon: it left its parent and its session. Both write their ids.
FAMILY = """
import os, sys, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.write(write, b".")
        time.sleep(60)
    os._exit(0)
os.read(read, 1)
print(os.getpid(), flush=True)
time.sleep(float(sys.argv[1]))
"""


def supervised_process(*command: str) -> subprocess.Popen[bytes]:
    supervisor = [sys.executable, "-IS", supervised.__file__]
    pipe = subprocess.PIPE
    return subprocess.Popen([*supervisor, *command], stdin=pipe, stdout=pipe)


def family(seconds: float) -> tuple[subprocess.Popen[bytes], list[Path]]:
    process = supervised_process(sys.executable, "-c", FAMILY, str(seconds))
    assert process.stdout is not None
    return process, [Path("/proc") / process.stdout.readline().decode().strip() for _ in range(2)]


def test_a_closed_pipe_ends_the_family() -> None:
    process, members = family(60.0)
    assert all(member.exists() for member in members)
    process.communicate(timeout=30)
    assert not any(member.exists() for member in members)


def test_who_outlives_the_command_is_ended_too() -> None:
    process, members = family(0.0)
    process.wait(timeout=30)
    assert not any(member.exists() for member in members)
    process.communicate()


def test_a_server_that_fails_to_start_is_told() -> None:
    process = supervised_process("false")
    assert process.wait(timeout=30) == 1
    process.communicate()
