"""What a process made to start stays until it ends, and what it frees later goes back.

    settle_memory --> the collector looks at what came later; malloc keeps no large holes

Modules, schemas and sessions are some hundred thousand objects. A full collection that goes through
them takes a tenth of a second, in which no request is answered; a graft may be what brings it on.

A bank that grows frees its arrays of tens of megabytes. Left to itself, glibc takes each freed size
for one that will be wanted again, keeps it in the arena of a thread, and cuts the next array out of
it: then zeros are written where the kernel would have mapped a page only when a prompt comes.
"""

from __future__ import annotations

import ctypes
import gc

# Answers leave no cycles behind, so the young are looked at seldom.
_YOUNG = 5_000
_MALLOPT = {  # malloc.h: the parameter, its value
    "M_MMAP_THRESHOLD": (-3, 1 << 20),  # above a request's arrays, below a bank's
    "M_TRIM_THRESHOLD": (-1, 4 << 20),
    "M_ARENA_MAX": (-8, 2),
}


def settle_memory() -> None:
    """Call it once the process could serve; what was made by then is never collected."""
    _give_back()
    gc.collect()
    gc.freeze()
    _, *older = gc.get_threshold()
    gc.set_threshold(_YOUNG, *older)


def _give_back() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        for parameter, value in _MALLOPT.values():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
