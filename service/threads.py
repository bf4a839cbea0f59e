"""How a process's threads share its cores and the interpreter: whoever answers requests goes first.

event loop, engine: as the process was started     all other threads: nicer, so that a change of the
                                                   tasks costs those who score as little as can be
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

# Enough to let requests go first; far below that, a thread that holds the interpreter's lock and
# is not let run would make them wait.
ASIDE_NICE = 5
_ASIDE_THREADS = 6
# After each graph run the event loop wants the interpreter back: Python's own 5 ms are longer than
# most answers take.
_SWITCH_S = 0.0005


def settle_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Call it once, before the loop has handed anything to a thread."""
    sys.setswitchinterval(_SWITCH_S)
    loop.set_default_executor(
        ThreadPoolExecutor(
            _ASIDE_THREADS,
            thread_name_prefix="aside",
            initializer=give_way,
            initargs=(ASIDE_NICE,),
        )
    )


def give_way(nice: int) -> None:
    """Make the calling thread nicer; on Linux a thread has a priority of its own."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + nice)
