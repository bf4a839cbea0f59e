"""Arrays as files: memory-mapped .npy, read without pickle and checked for dtype and rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import CorruptBundle


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write one .npy file."""
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)


def open_array(path: Path, kind: str, rank: int) -> NDArray[Any]:
    """Map one .npy file read-only, shared with other processes through the page cache.

    Args:
        path: the file.
        kind: the dtype it must have, as numpy writes it ("<i4"); "|S" admits any fixed width.
        rank: the number of its axes.

    Raises:
        CorruptBundle: missing, unreadable, or of another dtype or rank.
    """
    try:
        # numpy cannot map an array without elements; it is read instead.
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as err:
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise CorruptBundle(f"{path.name} is not a readable array: export it again") from err
        if array.size:
            raise CorruptBundle(f"{path.name} cannot be mapped: export it again") from err
    if not array.dtype.str.startswith(kind) or array.ndim != rank:
        raise CorruptBundle(
            f"{path.name} holds {array.dtype.str} of rank {array.ndim}, "
            f"expected {kind} of rank {rank}"
        )
    # Still mapped, but without the subclass, which makes each index several times dearer.
    return array.view(np.ndarray)
