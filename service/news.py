"""Word that a task store moved: a thread sleeps until then, instead of looking many times a second.

    a folder's inotify --folder_news--> News.wait returns as soon as a file came or was written
    no inotify, or Redis --Pause------> News.wait returns after a short pause

Word is a hint and never the truth: whoever hears it looks. On a file system that other hosts write
to, the kernel gives no word of them, so no wait is longer than _UNTOLD_S.
"""

from __future__ import annotations

import ctypes
import os
import select
import threading
from pathlib import Path
from typing import Protocol

_MOVED_HERE, _WRITTEN, _DELETED = 0x80, 0x8, 0x200  # linux/inotify.h
_MOST_BYTES = 1 << 14
_UNTOLD_S = 0.1


class News(Protocol):
    """For one waiting thread."""

    def wait(self, within_s: float, *, soon: bool = False) -> None:
        """Returns when there may be news, at the latest after so long.

        Args:
            within_s: patience.
            soon: something is about to come; who must look by itself looks more often.
        """

    def wake(self) -> None:
        """Ends the wait, or the next one. From any thread."""

    def close(self) -> None:
        """By the thread that waits."""


class Pause:
    """Nobody gives word: a short sleep.

    Args:
        pause_s: between two looks.
        short_s: the same when something is about to come.
    """

    def __init__(self, pause_s: float, short_s: float) -> None:
        self._pause_s, self._short_s = pause_s, short_s
        self._woken = threading.Event()

    def wait(self, within_s: float, *, soon: bool = False) -> None:
        self._woken.wait(min(within_s, self._short_s if soon else self._pause_s))
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        pass


class _FolderNews:
    """Word of the kernel that a file was moved into a folder, written or deleted."""

    def __init__(self, folder: Path, mask: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._watch < 0:
            raise OSError(ctypes.get_errno(), "no inotify instance is left")
        if libc.inotify_add_watch(self._watch, os.fsencode(folder), mask) < 0:
            os.close(self._watch)
            raise OSError(ctypes.get_errno(), "no inotify watch is left")
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._closed = False
        self._poll = select.poll()
        for handle in (self._watch, self._woken):
            self._poll.register(handle, select.POLLIN)

    def wait(self, within_s: float, *, soon: bool = False) -> None:  # told at once
        for handle, _ in self._poll.poll(min(within_s, _UNTOLD_S) * 1000):
            os.read(handle, _MOST_BYTES)

    def wake(self) -> None:
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._woken, 1)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self._watch)
            os.close(self._woken)


def folder_news(folder: Path, otherwise: Pause, *, written: bool) -> News:
    """Word of files that come into a folder by a rename.

    Args:
        folder: where.
        otherwise: how to wait where the kernel gives no word.
        written: also of files written in place or deleted.
    """
    mask = _MOVED_HERE | (_WRITTEN | _DELETED if written else 0)
    try:
        return _FolderNews(folder, mask)
    except (OSError, AttributeError):  # none is left; no Linux
        return otherwise
