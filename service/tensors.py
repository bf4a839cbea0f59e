"""Tensors of the Open Inference Protocol v2: JSON, and after it the raw bytes of some of them.

    body, length of its JSON --read_inference--> Inference(request, tensors)
                                   ├--> Malformed      no JSON, or bytes that are not as announced
                                   └--> InvalidField   a tensor that is not as its head says
    scores --write_inference--> body, length of its JSON if bytes follow

Raw bytes are little-endian and row-major; a BYTES element is its length in four bytes, and itself.
Nothing is allocated by what a head claims: sizes are compared with the bytes that came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import orjson
from msgspec import Meta, Struct
from numpy.typing import NDArray

from service.decoder import decode
from service.errors import InvalidField, Malformed

Datatype = Literal["INT64", "BYTES", "FP32", "FP64"]
Parameter = str | int | float | bool
OUTPUT: Final = "score"
_DTYPES = {"INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "INT64": (int,),
    "BYTES": (str,),
    "FP32": (int, float),
    "FP64": (int, float),
}
_LENGTH_BYTES = 4
_Name = Annotated[str, Meta(min_length=1, max_length=256)]


class InputTensor(Struct, frozen=True, forbid_unknown_fields=True):
    """One input: its values in data, or binary_data_size bytes of them after the JSON."""

    name: _Name
    datatype: Datatype
    shape: Annotated[
        list[Annotated[int, Meta(ge=0, le=2**31 - 1)]], Meta(min_length=1, max_length=2)
    ]
    parameters: dict[str, Parameter] = {}
    data: list[Any] | None = None


class RequestedOutput(Struct, frozen=True, forbid_unknown_fields=True):
    """An output that is wanted, and whether as raw bytes (parameter binary_data)."""

    name: _Name
    parameters: dict[str, Parameter] = {}


class InferRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One inference. The path names the model: clients write it here too, and it says nothing."""

    inputs: Annotated[list[InputTensor], Meta(min_length=1, max_length=4096)]
    id: Annotated[str, Meta(max_length=128)] = ""
    parameters: dict[str, Parameter] = {}
    outputs: Annotated[list[RequestedOutput], Meta(max_length=16)] = []
    model_name: str | None = None
    model_version: str | None = None


class OutputTensor(Struct, frozen=True):
    """The scores, in the order of item_ids; data is missing where raw bytes follow."""

    name: Literal["score"]
    datatype: Literal["FP32"]
    shape: list[int]
    parameters: dict[str, int] = {}
    data: list[float] | None = None


class InferAnswer(Struct, frozen=True):
    """Documents what write_inference writes."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]
    parameters: dict[str, Parameter] = {}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input's values, row-major, of Python's own types; as many as the shape says."""

    datatype: Datatype
    shape: tuple[int, ...]
    values: list[Any]


@dataclass(frozen=True, slots=True)
class Inference:
    """One call.

    Attributes:
        binary: whether the scores are wanted as raw bytes.
    """

    request: InferRequest
    tensors: Mapping[str, Tensor]
    binary: bool


_DECODER = msgspec.json.Decoder(InferRequest)


def read_inference(body: bytes, json_length: bytes | None) -> Inference:
    """Read one call.

    Args:
        body: all of it.
        json_length: the header Inference-Header-Content-Length; None if it is all JSON.

    Raises:
        Malformed, InvalidField: see the module.
    """
    view = memoryview(body)
    head = _length(json_length, len(view))
    request = decode(_DECODER, view[:head])
    binary = _wants_binary(request)
    tensors, at = dict[str, Tensor](), head
    for tensor in request.inputs:
        if tensor.name in tensors:
            raise InvalidField(tensor.name, "the input stands twice")
        size = _binary_size(tensor)
        if size is None:
            values = _from_json(tensor)
        elif size > len(view) - at:
            left = len(view) - at
            raise Malformed(f"{tensor.name}: {size} bytes are announced and {left} are left")
        else:
            values = _from_bytes(tensor, view[at : at + size])
            at += size
        tensors[tensor.name] = Tensor(tensor.datatype, tuple(tensor.shape), values)
    if at != len(view):
        raise Malformed(f"{len(view) - at} bytes follow the last tensor; each needs its input")
    return Inference(request, tensors, binary)


def write_inference(
    told: Mapping[str, Any], scores: NDArray[np.float32], *, binary: bool
) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON if raw bytes follow it.

    Args:
        told: all fields of InferAnswer but outputs.
        scores: (N,).
        binary: as raw bytes.
    """
    column = np.ascontiguousarray(scores, dtype="<f4")
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": [len(column)]}
    if binary:
        output["parameters"] = {"binary_data_size": column.nbytes}
    else:
        output["data"] = column
    head = orjson.dumps({**told, "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (head + column.tobytes(), len(head)) if binary else (head, None)


def _length(announced: bytes | None, most: int) -> int:
    if announced is None:
        return most
    # Python refuses to read numbers of thousands of digits.
    if not announced.isdigit() or len(announced) > len(str(most)) or int(announced) > most:
        raise Malformed(
            f"Inference-Header-Content-Length is {announced[:20].decode('latin-1')!r}; expected "
            f"the length of the JSON, at most the {most} bytes of the body"
        )
    return int(announced)


def _wants_binary(request: InferRequest) -> bool:
    """Of the one output there is: what it says itself goes before what the request says."""
    binary = request.parameters.get("binary_data_output", False)
    for output in request.outputs:
        if output.name != OUTPUT:
            raise InvalidField("outputs", f"no output {output.name!r}; each model has {OUTPUT}")
        for name in output.parameters:
            if name != "binary_data":
                raise InvalidField("outputs", _not_served(name))
        binary = output.parameters.get("binary_data", binary)
    if not isinstance(binary, bool):
        raise InvalidField("outputs", "binary_data and binary_data_output are true or false")
    return binary


def _binary_size(tensor: InputTensor) -> int | None:
    for name in tensor.parameters:
        if name != "binary_data_size":
            raise InvalidField(tensor.name, _not_served(name))
    size = tensor.parameters.get("binary_data_size")
    if (size is None) == (tensor.data is None):
        raise InvalidField(tensor.name, "expected either data or binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise InvalidField(tensor.name, f"binary_data_size is {size!r}; expected a count of bytes")
    return size


def _from_json(tensor: InputTensor) -> list[Any]:
    """Flat, or nested as the shape is."""
    values = tensor.data or []
    for _ in tensor.shape[1:]:
        if values and all(isinstance(row, list) for row in values):
            values = list(chain.from_iterable(values))
    count = math.prod(tensor.shape)
    if len(values) != count:
        raise InvalidField(tensor.name, f"{len(values)} values for the shape {tensor.shape}")
    kinds = _JSON_TYPES[tensor.datatype]
    if any(type(value) not in kinds for value in values):
        raise InvalidField(tensor.name, f"a value is no {tensor.datatype}")
    return values


def _from_bytes(tensor: InputTensor, raw: memoryview) -> list[Any]:
    count = math.prod(tensor.shape)
    if tensor.datatype == "BYTES":
        return _strings(tensor.name, raw, count)
    dtype = np.dtype(_DTYPES[tensor.datatype])
    if len(raw) != count * dtype.itemsize:
        raise InvalidField(
            tensor.name,
            f"{len(raw)} bytes for {tensor.datatype} of the shape {tensor.shape}, which takes "
            f"{count * dtype.itemsize}",
        )
    values: list[Any] = np.frombuffer(raw, dtype).tolist()
    return values


def _strings(name: str, raw: memoryview, count: int) -> list[Any]:
    values, at, end = list[Any](), 0, len(raw)
    try:
        while at < end:
            start = at + _LENGTH_BYTES
            at = start + int.from_bytes(raw[at:start], "little")
            if start > end or at > end:
                raise InvalidField(name, f"the length of element {len(values)} leaves the tensor")
            values.append(str(raw[start:at], "utf-8"))
    except UnicodeDecodeError as err:
        raise InvalidField(name, f"element {len(values)} is not UTF-8") from err
    if len(values) != count:
        raise InvalidField(name, f"{len(values)} elements for a shape of {count}")
    return values


def _not_served(parameter: str) -> str:
    if parameter.startswith("shared_memory"):
        return "shared memory is not served here; send the tensor in the body"
    if parameter == "classification":
        return f"classification is not served here; ask for {OUTPUT} as it is"
    return f"no parameter {parameter!r} is known here"
