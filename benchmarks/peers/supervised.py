"""Runs a peer's server and ends all of its processes, also when the benchmark was killed.

    supervised.py COMMAND ... --> the command; its whole family is ended when standard input closes

The benchmark holds the other end of standard input: however it ends, the pipe closes. Processes
that left their parent (Ray starts several so) come back to this one, which is their subreaper.
Linux alone; standard library alone, for it runs with the interpreter's bare path.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_SET_CHILD_SUBREAPER = 36  # prctl(2)
_LEAVE_S, _LOOK_S = 10.0, 0.05


def main() -> int:
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this kernel makes no process a subreaper")
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    ended = os.pidfd_open(command.pid)
    select.select([sys.stdin, ended], [], [])
    code = command.poll()
    _end_family()
    return code or 0


def _end_family() -> None:
    """Ask every descendant to leave, then end those that did not."""
    for sign, patience in ((signal.SIGTERM, _LEAVE_S), (signal.SIGKILL, _LEAVE_S)):
        end = time.monotonic() + patience
        for pid in _descendants(os.getpid()):
            _send(pid, sign)
        while _any_left() and time.monotonic() < end:
            if sign is signal.SIGKILL:  # also what was started meanwhile
                for pid in _descendants(os.getpid()):
                    _send(pid, sign)
            time.sleep(_LOOK_S)


def _send(pid: int, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, sign)


def _any_left() -> bool:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # After the name in brackets, which may hold anything: the state, then the parent.
            fields = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(process.name))
    found = children.get(pid, [])
    for one in found:  # grows while it is walked
        found += children.get(one, [])
    return found


if __name__ == "__main__":
    sys.exit(main())
