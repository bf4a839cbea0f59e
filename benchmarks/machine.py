"""The machine figures were taken on, without its name.

/proc and the interpreter --describe_machine--> a dictionary of short facts
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CPUINFO, _MEMINFO, _STAT = (Path(f"/proc/{name}") for name in ("cpuinfo", "meminfo", "stat"))


def _ticks() -> tuple[int, int]:
    """Of all cores since the machine started: all, and those that its host gave to others."""
    if not _STAT.exists():
        return 0, 0
    _, *kinds = _STAT.read_text(encoding="ascii").partition("\n")[0].split()
    user_to_steal = [int(ticks) for ticks in kinds[:8]]  # proc(5); guests count as users again
    return sum(user_to_steal), user_to_steal[-1]


_BEGAN = _ticks()


def describe_machine(packages: Iterable[str] = ()) -> dict[str, str | int | float]:
    """Processor, cores at hand, memory, system, Python, load, and versions of the packages.

    stolen_share is of the processor time since this program began: what a shared machine's host
    gave to others.
    """
    passed, stolen = (now - then for now, then in zip(_ticks(), _BEGAN, strict=True))
    facts: dict[str, str | int | float] = {
        "processor": _first(_CPUINFO, "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(_memory_kib() / 2**20, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
        "stolen_share": round(stolen / max(passed, 1), 3),
    }
    return facts | {name: _version(name) for name in packages}


def _first(path: Path, key: str) -> str | None:
    """The value of the first line "key : value"."""
    if not path.exists():
        return None
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _memory_kib() -> int:
    return int((_first(_MEMINFO, "MemTotal") or "0").split()[0])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
