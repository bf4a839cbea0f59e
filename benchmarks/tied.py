"""Becomes a command that is asked to leave when whoever started it is gone, also by a kill.

    tied.py PARENT COMMAND ... --> the command, in this very process; SIGTERM when PARENT is gone

The kernel remembers it, so nothing stands between the command and its parent: signals and the code
with which it leaves are its own. Linux alone; standard library alone, as it runs on the
interpreter's bare path.
"""

import ctypes
import os
import signal
import sys

_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    parent, *command = sys.argv[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this kernel tells no child of its parent's end")
    if os.getppid() == int(parent):  # else it has ended before this, and no signal will come
        os.execvp(command[0], command)


if __name__ == "__main__":
    main()
