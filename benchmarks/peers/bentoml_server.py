"""BentoML: `bentoml serve bentoml_server:Plain`, its model folder in PLAIN_MODEL.

One worker (https://docs.bentoml.com/en/latest/build-with-bentoml/services.html), arrays as typed
inputs in JSON (.../iotypes.html). Adaptive batching is left off: a request is a batch already.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
from plain_model import PlainModel


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Plain:
    """One worker."""

    def __init__(self) -> None:
        self.model = PlainModel(os.environ["PLAIN_MODEL"])

    @bentoml.api
    def score(self, arrays: dict[str, Any]) -> list[list[float]]:
        return self.model.score_lists(arrays).tolist()
