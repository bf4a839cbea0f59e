"""The interpreter's collector, kept out of what is measured.

uncollected() --> a block in which this process collects nothing

Whoever asks imports as much as whoever answers. One full collection there takes a third of a
second, in which nothing is asked and no answer is noticed: it looks like a service that stands
still.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
