"""Grafted prompts in memory: write-once slots of arrays with a leading P axis.

    Prompt --fill--> Slot (which no snapshot names yet) --Snapshot--> select --> (P, ...) arrays

A slot is written once, before anything names it, and is free again only when the last snapshot
that names it is gone. So a graft copies one prompt, never the bank, and a request that still runs
on an older snapshot keeps reading what it started with.
"""

from __future__ import annotations

import math
import mmap
import threading
import weakref
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from contract.schema import TensorSpec
from service.errors import TooLarge

Arrays = Mapping[str, NDArray[np.float32]]


class Slot:
    """One place in the bank, held by every snapshot that names it."""

    __slots__ = ("__weakref__", "bank", "index")

    def __init__(self, bank: PromptBank, index: int) -> None:
        self.bank = bank
        self.index = index


class PromptBank:
    """All prompts of one backbone, each tensor stacked along a leading axis."""

    def __init__(self, specs: Sequence[TensorSpec], *, limit: int, capacity: int = 16) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._arrays: dict[str, NDArray[np.float32]] = {
            spec.name: _pages((min(capacity, limit), *map(int, spec.shape))) for spec in specs
        }
        # The one that was freed last is taken first: memory never used stays untouched.
        self._free = [*reversed(range(min(capacity, limit)))]

    @property
    def spare(self) -> int:
        """Slots that the limit still allows."""
        return self._limit - len(next(iter(self._arrays.values()))) + len(self._free)

    def fill(self, tensors: Arrays) -> Slot:
        """Copy one prompt's tensors into a free slot. May grow the bank: call it off the loop.

        Raises:
            TooLarge: all slots that the limit allows are taken.
        """
        with self._lock:
            if not self._free:
                self._grow()
            index = self._free.pop()
            for name, array in self._arrays.items():
                array[index] = tensors[name]
        slot = Slot(self, index)
        weakref.finalize(slot, self._free.append, index).atexit = False
        return slot

    def select(self, slots: Sequence[Slot]) -> Arrays:
        """The prompts of some slots, each tensor (P, ...).

        Slots that follow each other cost nothing (a view); others are gathered.
        """
        arrays = self._arrays
        first, count = slots[0].index, len(slots)
        if all(slot.index == first + offset for offset, slot in enumerate(slots)):
            return {name: array[first : first + count] for name, array in arrays.items()}
        index = np.fromiter((slot.index for slot in slots), dtype=np.intp, count=count)
        return {name: array[index] for name, array in arrays.items()}

    def _grow(self) -> None:
        # Readers keep the arrays they took; the larger ones hold the same prompts.
        old = len(next(iter(self._arrays.values())))
        new = min(2 * old, self._limit)
        if new == old:
            raise TooLarge(f"{old} prompts are live, the limit: remove one or raise it")
        grown = {}
        for name, array in self._arrays.items():
            larger = _pages((new, *array.shape[1:]))
            larger[:old] = array
            grown[name] = larger
        self._arrays = grown
        self._free.extend(reversed(range(old, new)))


def _pages(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros of the kernel's own: no page is taken before a prompt comes, none kept when they go.

    malloc keeps a freed array of some megabytes in the arena of a thread and cuts the next one out
    of it, whose zeros are then written, a page for every slot that nobody uses yet.
    """
    size_bytes = max(math.prod(shape), 1) * np.dtype(np.float32).itemsize
    pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.ndarray(shape, dtype=np.float32, buffer=pages)
