"""How many cores there are for this process, and how many threads each worker may run graphs on.

affinity mask, control group's quota --cores_at_hand--> cores --engine_threads--> of each worker
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores_at_hand(cgroup: Path = _CGROUP) -> int:
    """What the mask and the quota of the container leave of the machine, rounded up."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def engine_threads(workers: int, cores: int) -> int:
    """Graph runs at once in each worker: together no more than there are cores."""
    return max(1, cores // workers)


def _quota(cgroup: Path) -> float | None:
    """Cores by the control group, version 2 or 1; None without a limit."""
    try:
        most, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            most = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return None
    if not most.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(most) / int(period)
