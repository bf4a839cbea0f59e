"""The wire of the Open Inference Protocol: what is read, and that whatever lies is refused."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidField, Malformed
from service.tensors import Inference, Tensor, read_inference, write_inference

ITEMS = {"name": "item_ids", "datatype": "INT64", "shape": [2]}
RAW = np.array([5, 6], dtype="<i8").tobytes()
REFUSALS = (Malformed, InvalidField)


def read(document: object, raw: bytes = b"", length: bytes | None = b"") -> Inference:
    """A body whose JSON is as long as its header says, unless `length` says otherwise."""
    head = orjson.dumps(document)
    return read_inference(head + raw, str(len(head)).encode() if length == b"" else length)


def binary(size: object, **changes: object) -> dict[str, Any]:
    return {"inputs": [ITEMS | {"parameters": {"binary_data_size": size}} | changes]}


def strings(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def test_values_in_json_and_raw_values_are_the_same() -> None:
    expected = Tensor("INT64", (2,), [5, 6])
    plain = read({"inputs": [ITEMS | {"data": [5, 6]}]}, length=None)
    assert plain.tensors["item_ids"] == expected
    assert read(binary(16), RAW).tensors["item_ids"] == expected


def test_raw_tensors_stand_in_the_order_of_the_inputs() -> None:
    words = {"name": "words", "datatype": "BYTES", "shape": [2]}
    raw = strings("é".encode(), b"")
    document = {
        "inputs": [words | {"parameters": {"binary_data_size": len(raw)}}, *binary(16)["inputs"]]
    }
    tensors = read(document, raw + RAW).tensors
    assert tensors["words"].values == ["é", ""]
    assert tensors["item_ids"].values == [5, 6]


def test_nested_values_are_read_row_by_row() -> None:
    nested = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2.5], [3, 4]]}
    assert read({"inputs": [nested]}).tensors["x"].values == [1, 2.5, 3, 4]


def test_an_empty_tensor_is_a_tensor() -> None:
    assert read(binary(0, shape=[0])).tensors["item_ids"].values == []
    assert read({"inputs": [ITEMS | {"shape": [0], "data": []}]}).tensors["item_ids"].values == []


@pytest.mark.parametrize(
    ("outputs", "asked", "binary"),
    [
        ([], {}, False),
        ([], {"binary_data_output": True}, True),
        ([{"name": "score"}], {"binary_data_output": True}, True),
        ([{"name": "score", "parameters": {"binary_data": False}}], {"binary_data_output": 1}, 0),
        ([{"name": "score", "parameters": {"binary_data": True}}], {}, True),
    ],
)
def test_an_output_s_own_word_on_its_form_goes_first(
    outputs: list[Any], asked: dict[str, Any], *, binary: bool
) -> None:
    document = {"inputs": [ITEMS | {"data": [5, 6]}], "outputs": outputs, "parameters": asked}
    assert read(document).binary == binary


@pytest.mark.parametrize("length", [b"-1", b"", b" 3", b"1e3", b"9" * 5000, b"100000", b"\xff"])
def test_a_length_that_the_json_cannot_have_is_refused(length: bytes) -> None:
    with pytest.raises(Malformed, match="Inference-Header-Content-Length"):
        read_inference(orjson.dumps(binary(16)) + RAW, length)


@pytest.mark.parametrize(
    ("size", "raw", "changes"),
    [
        (17, RAW, {}),  # more than came
        (8, RAW, {}),  # less than came
        (2**62, RAW, {}),
        (-16, RAW, {}),
        (True, RAW, {}),
        ("16", RAW, {}),
        (16.0, RAW, {}),
        (16, RAW + b"\0", {}),
        (16, RAW, {"shape": [3]}),
        (16, RAW, {"shape": [-2]}),
        (16, RAW, {"shape": []}),
        (16, RAW, {"shape": [2**31, 2]}),
        (16, RAW, {"shape": [2**31 - 1, 2**31 - 1]}),
        (16, RAW, {"shape": [1, 1, 2]}),
        (16, RAW, {"shape": [2.5]}),
        (16, RAW, {"datatype": "FP16"}),
        (16, RAW, {"datatype": "BOOL"}),
        (16, RAW, {"data": [5, 6]}),
        (16, RAW, {"parameters": {}}),
        (16, RAW, {"parameters": {"binary_data_size": 16, "shared_memory_region": "a"}}),
        (16, RAW, {"datatype": "BYTES"}),
        (3, b"\0\0\0", {"datatype": "BYTES", "shape": [1]}),
        (4, struct.pack("<I", 2**32 - 1), {"datatype": "BYTES", "shape": [1]}),
        (6, struct.pack("<I", 3) + b"ab", {"datatype": "BYTES", "shape": [1]}),
        (5, strings(b"\xff"), {"datatype": "BYTES", "shape": [1]}),
        (5, strings(b"a"), {"datatype": "BYTES", "shape": [2]}),
        (0, b"", {"datatype": "BYTES", "shape": [2**31 - 1]}),
    ],
)
def test_a_head_that_lies_about_its_bytes_is_refused(
    size: object, raw: bytes, changes: dict[str, Any]
) -> None:
    with pytest.raises(REFUSALS):
        read(binary(size, **changes), raw)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": [5]},
        {"data": [5, 6, 7]},
        {"data": [5, "6"]},
        {"data": [5, True]},
        {"data": [5, 6.0]},
        {"data": [5, None]},
        {"data": [[5], 6]},
        {"data": [[5, 6]]},
        {"data": "56"},
        {"data": [5, 6], "name": ""},
        {"data": [5, 6], "unknown": 1},
    ],
)
def test_values_that_are_not_as_their_head_says_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(REFUSALS):
        read({"inputs": [ITEMS | changes]})


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"classification": 3}, "classification is not served"),
        ({"shared_memory_region": "a"}, "shared memory is not served"),
        ({"binary_data": 1}, "true or false"),
    ],
)
def test_an_output_in_a_form_not_served_is_refused_by_name(
    parameters: dict[str, Any], sentence: str
) -> None:
    outputs = [{"name": "score", "parameters": parameters}]
    with pytest.raises(InvalidField, match=sentence):
        read({"inputs": [ITEMS | {"data": [5, 6]}], "outputs": outputs})


def test_an_input_that_stands_twice_is_refused() -> None:
    with pytest.raises(InvalidField, match="stands twice"):
        read({"inputs": [ITEMS | {"data": [5, 6]}] * 2})


@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 250)), st.integers(0, 120))
def test_whatever_the_bytes_they_are_read_or_refused(
    noise: bytes, length: int | None, at: int
) -> None:
    sound = orjson.dumps(binary(16)) + RAW
    for body in (noise, sound[:at] + noise + sound[at + len(noise) :]):
        try:
            read_inference(body, None if length is None else str(length).encode())
        except REFUSALS:
            continue


def test_scores_are_written_bit_by_bit() -> None:
    scores = np.array([[0.1, 0.7], [1e-30, 1.0]], dtype=np.float32)[:, 0]  # strided
    body, length = write_inference({"id": "a"}, scores, binary=True)
    assert length is not None
    document = orjson.loads(body[:length])
    assert document["outputs"] == [
        {"name": "score", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
    ]
    assert body[length:] == scores.tobytes()
    text, length = write_inference({"id": "a"}, scores, binary=False)
    assert length is None
    read_back = np.array(orjson.loads(text)["outputs"][0]["data"], dtype=np.float32)
    assert read_back.tobytes() == scores.tobytes()
