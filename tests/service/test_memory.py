"""A process that serves does not look through what it was started with."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import gc, weakref
from service.memory import settle_memory
class Node: pass
def cycle():
    node = Node(); node.itself = node
    return weakref.ref(node)
kept = [Node() for _ in range(1000)]
garbage = cycle()
settle_memory()
assert garbage() is None, "what was garbage at the start is gone"
assert len(gc.get_objects()) < 100, "nothing of the start is looked at again"
later = cycle()
gc.collect()
assert later() is None, "what comes later is collected as ever"
"""


def test_what_was_there_at_the_start_is_never_looked_at_again_and_all_later_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
