from __future__ import annotations

import subprocess
import sys

import pytest

# 64 MB, above every threshold that malloc starts with, freed: does the process still hold them?
SCRIPT = """
import numpy as np
from training.allocator import keep_freed_memory
if {keep}:
    keep_freed_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
block = np.ones(8_000_000)
del block
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_memory_stays_in_the_process_only_where_it_was_asked_to() -> None:
    kept = {}
    for keep in (True, False):
        command = [sys.executable, "-c", SCRIPT.format(keep=keep)]
        kept[keep] = int(subprocess.run(command, capture_output=True, check=True).stdout)
    assert kept[False] < 8_000_000 < kept[True]
