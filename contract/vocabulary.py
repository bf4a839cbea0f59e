"""Raw ids to small integers, memory-mapped and vectorised.

    keys by rank --Vocabulary.build--> sorted keys + ranks --save/open--> two mapped arrays
    raw values   --Vocabulary.local--> 1..n, n + 1 for anything unknown

Keys stand sorted, so a look-up is one binary search over a mapped array: nothing is parsed at start
and worker processes share the pages. Strings are kept as fixed-width UTF-8 bytes: exact, no hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.arrays import open_array, write_array
from contract.errors import CorruptBundle
from contract.schema import RawType, VocabularySpec

Keys = NDArray[np.int64] | NDArray[np.bytes_]
MAX_KEY_BYTES = 256
_INT64 = np.iinfo(np.int64)


def as_keys(values: Sequence[Any] | NDArray[Any], raw_type: RawType) -> Keys:
    """Raw values as comparable keys.

    Strings longer than MAX_KEY_BYTES or ending in NUL, which fixed-width bytes cannot tell apart,
    become a key that no vocabulary holds.

    Raises:
        ValueError: a value that is no 64-bit integer, or no string, whichever raw_type asks for.
    """
    if raw_type == "int64":
        if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
            return values.astype(np.int64, copy=False)
        if not set(map(type, values)) <= {int}:
            for value in values:
                if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                    raise ValueError(f"{value!r} is not an integer id")
        try:
            return np.asarray(values, dtype=np.int64)
        except OverflowError as err:
            worst = next(v for v in values if not _INT64.min <= v <= _INT64.max)
            raise ValueError(f"{worst} is outside the range of 64-bit integers") from err
    if isinstance(values, np.ndarray) and values.dtype.kind == "S":
        return values
    encoded = []
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a string")
        raw = value.encode("utf-8", "surrogatepass")
        unfit = len(raw) > MAX_KEY_BYTES or raw.endswith(b"\0")
        encoded.append(b"\xff" if unfit else raw)  # 0xff never occurs in UTF-8
    return np.asarray(encoded, dtype=np.bytes_) if encoded else np.empty(0, dtype="S1")


def find_keys(sorted_keys: Keys, keys: Keys) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Position of each key in sorted_keys (0 where absent) and whether it is there."""
    if not len(sorted_keys):
        return np.zeros(len(keys), dtype=np.intp), np.zeros(len(keys), dtype=np.bool_)
    at = sorted_keys.searchsorted(keys)
    at[at == len(sorted_keys)] = 0
    return at, sorted_keys[at] == keys


class Vocabulary:
    """One id space. Local ids: 0 padding, 1..n the keys by rank, n + 1 unknown."""

    def __init__(self, spec: VocabularySpec, keys: Keys, local: NDArray[np.int32]) -> None:
        self.spec = spec
        self._keys = keys  # (n,), sorted
        self._local = local  # (n,), 1..n

    @classmethod
    def build(cls, spec: VocabularySpec, keys: Sequence[Any] | NDArray[Any]) -> Vocabulary:
        """Fit from distinct keys in rank order (by falling frequency).

        Raises:
            ValueError: keys that repeat, are of another type, too long, or not spec.size many.
        """
        by_rank = as_keys(keys, spec.type)
        order = np.argsort(by_rank, kind="stable")
        ordered = by_rank[order]
        if len(ordered) != spec.size or np.any(ordered[1:] == ordered[:-1]):
            raise ValueError(
                f"vocabulary {spec.name}: {len(ordered)} keys, expected {spec.size} distinct ones "
                f"(strings of at most {MAX_KEY_BYTES} bytes)"
            )
        return cls(spec, ordered, (order + 1).astype(np.int32))

    def local(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.int32]:
        """Local ids of raw values, shape (len(values),).

        Raises:
            ValueError: a value of the wrong type (unknown values are fine).
        """
        keys = as_keys(values, self.spec.type)
        at, known = find_keys(self._keys, keys)
        unknown = np.int32(self.spec.size + 1)
        if not self.spec.size:
            return np.full(len(keys), unknown, dtype=np.int32)
        return np.where(known, self._local[at], unknown)

    def save(self, folder: Path) -> None:
        write_array(folder / f"{self.spec.name}.keys.npy", self._keys)
        write_array(folder / f"{self.spec.name}.local.npy", self._local)

    @classmethod
    def open(cls, folder: Path, spec: VocabularySpec) -> Vocabulary:
        """Map a saved vocabulary.

        Raises:
            CorruptBundle: files missing, damaged, or of another size than the schema says.
        """
        keys = open_array(
            folder / f"{spec.name}.keys.npy", "<i8" if spec.type == "int64" else "|S", 1
        )
        local = open_array(folder / f"{spec.name}.local.npy", "<i4", 1)
        if len(keys) != spec.size or len(local) != spec.size:
            raise CorruptBundle(
                f"vocabulary {spec.name} holds {len(keys)} keys, the schema says {spec.size}"
            )
        return cls(spec, keys, local)
