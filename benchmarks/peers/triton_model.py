"""What Triton's Python backend runs, in the form its README shows: requests to responses."""

from __future__ import annotations

import json
from typing import Any

import triton_python_backend_utils as triton
from plain_model import PlainModel


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        self.model = PlainModel(parameters["folder"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        answers = []
        for request in requests:
            arrays = {one.name(): one.as_numpy() for one in request.inputs()}
            scores = triton.Tensor("scores", self.model.score(arrays))
            answers.append(triton.InferenceResponse(output_tensors=[scores]))
        return answers
