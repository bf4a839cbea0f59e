"""A model that was opened aside, run in the shapes of the traffic that it is about to take.

Scorer --Recent--> the last requests --warm_up--> memory is there, tables are in the page cache
                                        └--> BundleUnfit: it cannot answer one of them
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from service.bank import Slot
from service.engine import Cancellation
from service.errors import BundleUnfit, InvalidField
from service.features import UserFeatures
from service.messages import ScoreRequest
from service.model import Model

_KEPT = 16
_MOST_PROMPTS = 64
Asked = tuple[ScoreRequest, UserFeatures]


class Recent:
    """The requests that were scored last. Event loop only."""

    def __init__(self) -> None:
        self._asked: deque[Asked] = deque(maxlen=_KEPT)

    def add(self, request: ScoreRequest, features: UserFeatures) -> None:
        self._asked.append((request, features))

    def all(self) -> tuple[Asked, ...]:
        return tuple(self._asked)


def warm_up(model: Model, slots: Sequence[Slot], asked: Sequence[Asked]) -> None:
    """Score what was asked lately, with these prompts. Blocks.

    Raises:
        BundleUnfit: a request that was answered a moment ago cannot be encoded, or scores NaN.
    """
    bank = model.bank.select(slots[:_MOST_PROMPTS]) if slots else None
    for request, features in (*asked, *asked):
        try:
            arrays = model.encoder.encode(request, features)
        except InvalidField as err:
            raise BundleUnfit(f"it refuses a request that is answered now: {err}") from err
        scored = model.engine.answer(arrays, model.heads, bank, Cancellation())
        if not all(np.isfinite(found).all() for found in (*scored.heads.values(), scored.prompts)):
            raise BundleUnfit("it scores NaN or infinity for a request that is answered now")
