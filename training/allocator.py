"""The C allocator while a model learns: what one step frees, the next one gets.

    fit, fit_head --keep_freed_memory--> glibc's malloc, for the rest of the process

By default glibc hands large blocks back to the system as soon as they are free, and each step then
pays the kernel for fresh pages: a fifth of the time of a small model. Other allocators are left
as they are.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_BYTES = 2**30
_OLD_LIMIT_BYTES = 2**25  # the most that glibc before 2.35 takes for a threshold of mmap


def keep_freed_memory() -> None:
    """Keep up to a gigabyte of freed memory in the process."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    if not mallopt(_MMAP_THRESHOLD, _KEPT_BYTES):
        mallopt(_MMAP_THRESHOLD, _OLD_LIMIT_BYTES)
