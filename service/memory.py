"""What a process made to start stays until it ends: no need to look at it again and again.

Modules, schemas and sessions are some hundred thousand objects. A full collection that goes through
them takes a tenth of a second, in which no request is answered; a graft may be what brings it on.
"""

from __future__ import annotations

import gc

# Answers leave no cycles behind, so the young are looked at seldom.
_YOUNG = 5_000


def settle_memory() -> None:
    """Call it once the process could serve; what was made by then is never collected."""
    gc.collect()
    gc.freeze()
    _, *older = gc.get_threshold()
    gc.set_threshold(_YOUNG, *older)
