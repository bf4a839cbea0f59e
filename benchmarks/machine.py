"""The machine figures were taken on, without its name.

/proc and the interpreter --describe_machine--> a dictionary of short facts
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")


def describe_machine(packages: Iterable[str] = ()) -> dict[str, str | int | float]:
    """Processor, cores at hand, memory, system, Python, load, and versions of the packages."""
    facts: dict[str, str | int | float] = {
        "processor": _first(_CPUINFO, "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(_memory_kib() / 2**20, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
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
