"""What a peer is sent and what it answers: each in the form its own documents show.

    encoded arrays of one request --Form.encode--> headers, body
    an answer's headers and body  --Form.decode--> probabilities (N, T)

Arrays are encoded before the clock starts: what a peer would pay for look-ups is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import safetensors.numpy
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

Arrays = Mapping[str, NDArray[Any]]
Headers = dict[str, str]
Scores = NDArray[np.float32]
_BINARY = {"Content-Type": "application/octet-stream"}
_TRITON_TYPES = {"int32": "INT32", "float32": "FP32"}
_JSON_LENGTH = "Inference-Header-Content-Length"
_AT_USER = ("user_ids", "user_dense", "user_bags", "history")


@dataclass(frozen=True, slots=True)
class Form:
    """One door's way of writing."""

    encode: Callable[[Arrays], tuple[Headers, bytes]]
    decode: Callable[[Mapping[str, str], bytes, int], Scores]  # the last: T


def _to_bytes(arrays: Arrays) -> tuple[Headers, bytes]:
    return dict(_BINARY), safetensors.numpy.save(dict(arrays))


def _from_bytes(headers: Mapping[str, str], body: bytes, tasks: int) -> Scores:
    return np.frombuffer(body, dtype=np.float32).reshape(-1, tasks)


def _to_json(arrays: Arrays) -> tuple[Headers, bytes]:
    return {}, orjson.dumps(dict(arrays), option=orjson.OPT_SERIALIZE_NUMPY)


def _to_named_json(arrays: Arrays) -> tuple[Headers, bytes]:
    body = orjson.dumps({"arrays": dict(arrays)}, option=orjson.OPT_SERIALIZE_NUMPY)
    return {}, body


def _from_json(headers: Mapping[str, str], body: bytes, tasks: int) -> Scores:
    found = orjson.loads(body)
    return np.asarray(found["scores"] if isinstance(found, dict) else found, dtype=np.float32)


def _to_triton(arrays: Arrays) -> tuple[Headers, bytes]:
    inputs = []
    for name, array in tiled(arrays).items():
        one = InferInput(name, list(array.shape), _TRITON_TYPES[array.dtype.name])
        one.set_data_from_numpy(array, binary_data=True)
        inputs.append(one)
    wanted = [InferRequestedOutput("scores", binary_data=True)]
    body, length = InferenceServerClient.generate_request_body(inputs, outputs=wanted)
    return {**_BINARY, _JSON_LENGTH: str(length)}, body


def _from_triton(headers: Mapping[str, str], body: bytes, tasks: int) -> Scores:
    length = headers.get(_JSON_LENGTH.lower())
    found = InferResult.from_response_body(body, header_length=int(length) if length else None)
    scores: Scores = found.as_numpy("scores")
    return scores


def tiled(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Each row with its user."""
    rows = len(arrays["item_ids"])
    return {
        name: np.repeat(array, rows, axis=0) if name in _AT_USER else array
        for name, array in arrays.items()
    }


BYTES = Form(_to_bytes, _from_bytes)
JSON = Form(_to_json, _from_json)
NAMED_JSON = Form(_to_named_json, _from_json)
TRITON = Form(_to_triton, _from_triton)
