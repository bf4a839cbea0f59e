from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.errors import PromptMisfit
from contract.manifest import FORMAT_VERSION, GraphSpec, Manifest, TaskEntry
from contract.prompt import Prompt, PromptHeader, read_prompt, write_prompt
from contract.schema import TensorSpec

ROWS, USERS, WIDTH = 3, 2, 4
HEADER = PromptHeader(
    format_version=1,
    task="skip",
    backbone="a" * 64,
    schema_digest="b" * 64,
    trained_parameters=12,
    metrics={"auc": 0.75},
    provenance={"seed": 3},
)
TENSORS = {
    "task_emb": np.arange(WIDTH, dtype=np.float32),
    "gate.w0.user": np.ones((5, 2), dtype=np.float32),
}
GOLDEN = {
    "user_ids": np.array([[1, 2], [3, 0]], dtype=np.int32),
    "item_dense": np.zeros((ROWS, 1), dtype=np.float32),
    "row_user": np.array([0, 1, 1], dtype=np.int32),
}
SCORES = np.array([0.1, 0.5, 1.0], dtype=np.float32)
GOOD = write_prompt(HEADER, TENSORS, GOLDEN, SCORES)
GRAPH = GraphSpec(
    file="backbone.onnx",
    inputs=(
        TensorSpec("user_ids", "int32", ("U", 2)),
        TensorSpec("item_dense", "float32", ("N", 1)),
        TensorSpec("row_user", "int32", ("N",)),
    ),
    outputs=(),
)
MANIFEST = Manifest(
    format_version=FORMAT_VERSION,
    name="tiny",
    fingerprint="a" * 64,
    schema_digest="b" * 64,
    table_rows=4,
    backbone=GRAPH,
    tasks=(TaskEntry(name="click", graph=GRAPH, parameters=1),),
    prompt_head=GRAPH,
    prompt_tensors=(
        TensorSpec("task_emb", "float32", (WIDTH,)),
        TensorSpec("gate.w0.user", "float32", (5, 2)),
    ),
    tolerance=1e-5,
    backbone_parameters=100,
    files={},
)


def reason_of(act: Callable[[], object]) -> str:
    with pytest.raises(PromptMisfit) as caught:
        act()
    return caught.value.reason


def test_a_prompt_comes_back_as_it_was_written() -> None:
    prompt = read_prompt(GOOD)
    assert prompt.header == HEADER
    assert prompt.size_bytes == len(GOOD)
    for given_arrays, found in ((TENSORS, prompt.tensors), (GOLDEN, prompt.golden_inputs)):
        assert given_arrays.keys() == found.keys()
        for name, array in given_arrays.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
    prompt.check_fits(MANIFEST)


def test_equal_content_gives_equal_bytes() -> None:
    reordered = dict(reversed(TENSORS.items()))
    assert write_prompt(HEADER, reordered, GOLDEN, SCORES) == GOOD


def test_a_prompt_cannot_be_changed_in_memory() -> None:
    prompt = read_prompt(GOOD)
    with pytest.raises(ValueError, match="read-only"):
        prompt.tensors["task_emb"][0] = 9


def test_every_cut_is_refused() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(PromptMisfit):
            read_prompt(GOOD[:length])


def test_every_flipped_bit_is_refused() -> None:
    for at in range(len(GOOD)):
        for bit in range(8):
            damaged = bytearray(GOOD)
            damaged[at] ^= 1 << bit
            with pytest.raises(PromptMisfit):
                read_prompt(bytes(damaged))


def test_an_added_byte_is_refused() -> None:
    assert reason_of(lambda: read_prompt(GOOD + b"\0")) in {"malformed", "digest_mismatch"}


@given(st.binary(max_size=512))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PromptMisfit):
        read_prompt(data)


@given(st.binary(max_size=200))
def test_an_arbitrary_safetensors_header_is_refused(header: bytes) -> None:
    with pytest.raises(PromptMisfit):
        read_prompt(len(header).to_bytes(8, "little") + header)


def test_a_huge_announced_header_is_refused_unread() -> None:
    assert reason_of(lambda: read_prompt(b"\xff" * 8 + b"{}")) == "malformed"


def test_a_newer_format_is_named() -> None:
    newer = write_prompt(HEADER.model_copy(update={"format_version": 2}), TENSORS, GOLDEN, SCORES)
    assert reason_of(lambda: read_prompt(newer)) == "unsupported_format"


def test_scores_outside_zero_to_one_are_refused() -> None:
    data = write_prompt(HEADER, TENSORS, GOLDEN, SCORES + 1)
    assert reason_of(lambda: read_prompt(data)) == "non_finite"


def misfit(**changes: Any) -> str:  # noqa: ANN401  # any field of a Prompt
    prompt = read_prompt(GOOD)
    return reason_of(lambda: replace(prompt, **changes).check_fits(MANIFEST))


def with_tensor(name: str, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {**TENSORS, name: array}


def test_a_foreign_backbone_is_named_before_anything_else() -> None:
    foreign = HEADER.model_copy(update={"backbone": "c" * 64})
    assert misfit(header=foreign, tensors={}) == "wrong_backbone"


def test_a_foreign_schema_is_refused() -> None:
    assert misfit(header=HEADER.model_copy(update={"schema_digest": "c" * 64})) == "wrong_schema"


def test_a_missing_tensor_is_refused() -> None:
    assert misfit(tensors={"task_emb": TENSORS["task_emb"]}) == "missing_tensor"


def test_an_unknown_tensor_is_refused() -> None:
    assert misfit(tensors=with_tensor("extra", np.zeros(1, np.float32))) == "unexpected_tensor"


@pytest.mark.parametrize("shape", [(WIDTH + 1,), (WIDTH, 1), (0,), ()])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    assert misfit(tensors=with_tensor("task_emb", np.zeros(shape, np.float32))) == "wrong_shape"


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_a_wrong_dtype_is_refused(dtype: str) -> None:
    assert misfit(tensors=with_tensor("task_emb", np.zeros(WIDTH, dtype))) == "wrong_dtype"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    array = TENSORS["task_emb"].copy()
    array[1] = value
    assert misfit(tensors=with_tensor("task_emb", array)) == "non_finite"


@pytest.mark.parametrize(
    ("name", "value"), [("row_user", USERS), ("row_user", -1), ("user_ids", 4), ("user_ids", -1)]
)
def test_golden_indices_stay_inside_what_they_index(name: str, value: int) -> None:
    array = GOLDEN[name].copy()
    array.flat[0] = value
    assert misfit(golden_inputs={**GOLDEN, name: array}) == "malformed"


def test_golden_rows_must_agree_in_number() -> None:
    assert misfit(golden_scores=SCORES[:2]) == "malformed"
    assert isinstance(read_prompt(GOOD), Prompt)


def test_a_prompt_without_golden_rows_is_refused() -> None:
    empty = {n: a if n == "user_ids" else a[:0] for n, a in GOLDEN.items()}
    assert misfit(golden_inputs=empty, golden_scores=SCORES[:0]) == "malformed"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("metrics", {"auc": float("nan")}),
        ("metrics", {"auc": float("inf")}),
        ("metrics", {"\ud800": 0.5}),
        ("provenance", {"label": "\ud800"}),
        ("provenance", {"label": "x" * 1025}),
        ("provenance", {"loss": float("-inf")}),
        ("provenance", {f"k{n}": n for n in range(65)}),
        ("trained_parameters", -1),
        ("surprise", 1),
    ],
)
def test_a_header_that_no_answer_could_repeat_is_refused(part: str, value: object) -> None:
    fields = {**HEADER.model_dump(), "digest": "0" * 64, part: value}
    data = safetensors.numpy.save(
        {"golden.scores": SCORES}, metadata={"taskgraft": json.dumps(fields)}
    )
    assert reason_of(lambda: read_prompt(data)) == "malformed"


def test_more_golden_rows_than_live_traffic_bears_are_refused() -> None:
    many = {n: a if n == "user_ids" else np.repeat(a, 100, axis=0) for n, a in GOLDEN.items()}
    assert misfit(golden_inputs=many, golden_scores=np.repeat(SCORES, 100)) == "too_large"
