"""What a peer is sent and what it answers: each in the quickest form its own documents show.

    encoded arrays of one request --Form.encode--> headers, body
    an answer's headers and body  --Form.decode--> probabilities (N, T)

Bytes where the door takes bytes, the Open Inference Protocol's binary form where it is spoken, and
base64 inside JSON where a door takes JSON alone: no peer parses numbers out of text. A user's row
is sent once. Arrays are encoded before the clock starts: look-ups are not counted against a peer.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
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
_TYPES = {"int32": "INT32", "float32": "FP32"}
_JSON_LENGTH = "Inference-Header-Content-Length"


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
    return {}, orjson.dumps({"arrays": _packed(arrays)})


def _from_json(headers: Mapping[str, str], body: bytes, tasks: int) -> Scores:
    return _unpacked(orjson.loads(body)["scores"], tasks)


def _to_mlserver(arrays: Arrays) -> tuple[Headers, bytes]:
    told = {
        "name": "arrays",
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"content_type": "base64"},
        "data": [_packed(arrays)],
    }
    return {}, orjson.dumps({"inputs": [told]})


def _from_mlserver(headers: Mapping[str, str], body: bytes, tasks: int) -> Scores:
    (output,) = orjson.loads(body)["outputs"]
    return _unpacked(output["data"][0], tasks)


def _packed(arrays: Arrays) -> str:
    return b64encode(safetensors.numpy.save(dict(arrays))).decode()


def _unpacked(text: str, tasks: int) -> Scores:
    return np.frombuffer(b64decode(text), dtype=np.float32).reshape(-1, tasks)


def _to_protocol(arrays: Arrays) -> tuple[Headers, bytes]:
    inputs = []
    for name, array in arrays.items():
        one = InferInput(name, list(array.shape), _TYPES[array.dtype.name])
        one.set_data_from_numpy(array, binary_data=True)
        inputs.append(one)
    wanted = [InferRequestedOutput("scores", binary_data=True)]
    body, length = InferenceServerClient.generate_request_body(inputs, outputs=wanted)
    return {**_BINARY, _JSON_LENGTH: str(length)}, body


def _from_protocol(headers: Mapping[str, str], body: bytes, tasks: int) -> Scores:
    length = headers.get(_JSON_LENGTH.lower())
    found = InferResult.from_response_body(body, header_length=int(length) if length else None)
    scores: Scores = found.as_numpy("scores")
    return scores


BYTES = Form(_to_bytes, _from_bytes)
JSON = Form(_to_json, _from_json)
PROTOCOL = Form(_to_protocol, _from_protocol)
MLSERVER = Form(_to_mlserver, _from_mlserver)
