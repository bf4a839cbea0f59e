"""Tensors become the fields of a score request."""

from __future__ import annotations

import math
from typing import Any

import pytest

from service.decoder import RequestDecoder
from service.errors import InvalidField, TooLarge
from service.messages import ScoreRequest
from service.signature import Signature
from service.tensors import Inference, InferRequest, Parameter, Tensor
from tests.fakes import example_schema
from tests.live_server import settings_for_tests

SETTINGS = settings_for_tests(max_items=3)
SIGNATURE = Signature(example_schema(), SETTINGS)
DECODER = RequestDecoder(example_schema(), SETTINGS)
NEEDED = {"user_id": Tensor("INT64", (1,), [1]), "item_ids": Tensor("INT64", (2,), [5, 6])}


def inference(parameters: dict[str, Parameter] | None = None, **tensors: Tensor) -> Inference:
    """With `user__age` for user.age."""
    given = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return Inference(InferRequest([], parameters=parameters or {}), NEEDED | given, binary=False)


def request(parameters: dict[str, Parameter] | None = None, **tensors: Tensor) -> ScoreRequest:
    return decoded(inference(parameters, **tensors))


def decoded(given: Inference) -> ScoreRequest:
    return DECODER.score_of(SIGNATURE.fields(given))


def test_every_field_of_the_schema_but_the_ids_is_an_input() -> None:
    assert {i.name: (i.datatype, i.shape) for i in SIGNATURE.inputs.values()} == {
        "user_id": ("INT64", (1,)),
        "item_ids": ("INT64", (-1,)),
        "user.age": ("FP32", (1,)),
        "context.class": ("BYTES", (1,)),
        "context.hour": ("INT64", (1,)),
        "items.tags": ("BYTES", (-1, -1)),
        "items.distance": ("FP32", (-1,)),
        "history.view": ("INT64", (-1,)),
        "history.buy": ("INT64", (-1,)),
    }


def test_tensors_say_what_the_json_of_a_score_request_says() -> None:
    built = request(
        {"deadline_ms": 70},
        user__age=Tensor("FP64", (1,), [31.5]),
        context__class=Tensor("BYTES", (1,), ["a"]),
        items__tags=Tensor("BYTES", (2, 2), ["a", "b", "c", "d"]),
        items__distance=Tensor("FP32", (2,), [0.5, math.nan]),
        history__view=Tensor("INT64", (3,), [7, 8, 9]),
    )
    body = b"""{"user_id": 1, "item_ids": [5, 6], "deadline_ms": 70, "user": {"age": 31.5},
        "context": {"class": "a"}, "history": {"view": [7, 8, 9]},
        "items": [{"tags": ["a", "b"], "distance": 0.5}, {"tags": ["c", "d"], "distance": null}]}"""
    assert built == DECODER.score(body)


def test_the_timeout_of_triton_s_clients_is_in_microseconds() -> None:
    assert request({"timeout": 1_500_000}).deadline_ms == 1500
    assert request({"timeout": 10}).deadline_ms == 1
    assert request({"timeout": 10, "deadline_ms": 30}).deadline_ms == 30


@pytest.mark.parametrize(
    "parameters", [{"deadline_ms": 0}, {"deadline_ms": "x"}, {"timeout": 0}, {"timeout": 1e9},
                   {"timeout": 10**15}, {"timeout": True}, {"priority": 1}, {"sequence_id": 1}]
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidField):
        request(parameters)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("user_id", Tensor("BYTES", (1,), ["1"])),
        ("user_id", Tensor("INT64", (2,), [1, 2])),
        ("item_ids", Tensor("INT64", (1, 2), [5, 6])),
        ("item_ids", Tensor("INT64", (0,), [])),
        ("nonsense", Tensor("INT64", (1,), [1])),
        ("user", Tensor("INT64", (1,), [1])),
        ("user.", Tensor("INT64", (1,), [1])),
        ("user.class", Tensor("BYTES", (1,), ["a"])),
        ("items.distance", Tensor("FP32", (1,), [1.0])),
        ("items.distance", Tensor("INT64", (2,), [1, 2])),
        ("history.nothing", Tensor("INT64", (1,), [1])),
        ("history.view", Tensor("INT64", (5000,), [1] * 5000)),
    ],
)
def test_an_input_that_is_not_the_model_s_is_refused_by_name(name: str, tensor: Tensor) -> None:
    with pytest.raises(InvalidField, match=name.partition(".")[0]):
        decoded(Inference(InferRequest([]), NEEDED | {name: tensor}, binary=False))


@pytest.mark.parametrize("name", ["user_id", "item_ids"])
def test_both_ids_are_needed(name: str) -> None:
    tensors = {kept: tensor for kept, tensor in NEEDED.items() if kept != name}
    with pytest.raises(InvalidField, match=f"{name}: the input is missing"):
        SIGNATURE.fields(Inference(InferRequest([]), tensors, binary=False))


def test_more_items_than_a_request_may_have_are_too_large() -> None:
    with pytest.raises(TooLarge, match="4 items, at most 3"):
        request(item_ids=Tensor("INT64", (4,), [1, 2, 3, 4]))
