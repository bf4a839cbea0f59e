"""Rules that hold for every bottom x mixer, and the published sizes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.worlds import (
    categorical_schema,
    random_inputs,
    refill,
    rows_of,
    schema,
    tiled,
    widened,
)
from training.config import ModelConfig
from training.errors import ConfigError
from training.model import MultiTaskModel, build_model

SIZES: dict[str, Any] = {
    "embedding_dim": 4,
    "expert_units": (10, 6),
    "tower_units": (5,),
    "dtrn": {"width": 6, "condition_width": 3, "hyper_width": 5},
}
ANY_MIXER: list[dict[str, Any]] = [
    {"mixer": "shared_bottom"},
    {"mixer": "omoe", "shared_experts": 3, "gate_units": (4,)},
    {"mixer": "mmoe", "shared_experts": 3, "gate_units": (4,)},
    {"mixer": "cgc", "shared_experts": 2, "specific_experts": 2, "gate_units": ()},
    {"mixer": "ple", "shared_experts": 2, "specific_experts": 2, "gate_units": (), "layers": 2},
    {"mixer": "aftb", "shared_experts": 2, "gate_units": (4,)},
    {"mixer": "aftb", "shared_experts": 1, "specific_experts": 2, "gate_units": (), "layers": 2},
    {"mixer": "mpt"},
]
PLAIN_ONLY: list[dict[str, Any]] = [{"mixer": "aitm"}, {"mixer": "esmm"}]
BOTTOMS = ("shared", "stem", "dtrn")
MODELS = [{"bottom": b, **m} for b in BOTTOMS for m in ANY_MIXER] + PLAIN_ONLY


def name_of(model: dict[str, Any]) -> str:
    layers = model.get("layers", 1)
    return f"{model.get('bottom', 'shared')}-{model['mixer']}" + ("" if layers == 1 else "2")


def build(model: dict[str, Any], tasks: int = 2) -> MultiTaskModel:
    config = ModelConfig.model_validate({**SIZES, **model})
    built = build_model(config, schema(), [f"t{t}" for t in range(tasks)])
    refill(built)
    return built.eval()


@pytest.fixture(params=MODELS, ids=name_of)
def model(request: pytest.FixtureRequest) -> MultiTaskModel:
    return build(request.param)


@torch.no_grad()
def head_logits(model: MultiTaskModel, inputs: Any) -> Tensor:  # noqa: ANN401
    tensors = model.represent(inputs).tensors()
    return torch.stack([model.head(t)(*tensors) for t in range(len(model.tasks))], dim=1)


@torch.no_grad()
def test_heads_on_the_representation_give_the_logits_of_forward(model: MultiTaskModel) -> None:
    inputs = random_inputs(schema(), 3, 9)
    assert_close(head_logits(model, inputs), model(inputs).logits, rtol=0, atol=1e-6)


@torch.no_grad()
def test_request_major_equals_the_plain_form(model: MultiTaskModel) -> None:
    inputs = random_inputs(schema(), 3, 33)
    plain = tiled(inputs)
    assert_close(model(inputs).logits, model(plain).logits, rtol=0, atol=1e-5)
    model.double()
    inputs, plain = widened(inputs), widened(plain)
    assert_close(model(inputs).logits, model(plain).logits, rtol=0, atol=1e-12)
    assert_close(head_logits(model, inputs), head_logits(model, plain), rtol=0, atol=1e-12)


@torch.no_grad()
def test_rows_may_come_in_any_order_and_do_not_see_each_other(model: MultiTaskModel) -> None:
    inputs = random_inputs(schema(), 4, 12)
    together = model(inputs).logits
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert_close(model(rows_of(inputs, order)).logits, together[order], rtol=0, atol=1e-6)
    alone = [model(rows_of(inputs, torch.tensor([n]))).logits for n in range(12)]
    assert_close(torch.cat(alone), together, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("users", "rows"), [(1, 1), (1, 5), (3, 1), (3, 0), (0, 0)])
@torch.no_grad()
def test_any_number_of_users_and_rows_is_a_call(
    model: MultiTaskModel, users: int, rows: int
) -> None:
    inputs = random_inputs(schema(), users, rows)
    m = model.mixer.width
    representation = model.represent(inputs)
    assert model(inputs).logits.shape == (rows, 2)
    assert representation.shared.shape == (rows, m)
    assert representation.specific.shape == (rows, 2, m)
    assert head_logits(model, inputs).shape == (rows, 2)
    assert bool(model(inputs).logits.isfinite().all())


def test_every_weight_learns(model: MultiTaskModel) -> None:
    """A step on all tasks (and the game, for mpt) leaves no weight without a gradient.

    But for the bias of DTRN's keys, which adds the same to all that a softmax compares.
    """
    outputs = model(random_inputs(schema(), 5, 40), alpha=0.5)
    loss = outputs.logits.square().sum()
    if outputs.env_logprob is not None:
        loss = loss + outputs.env_logprob[:, 0].sum()
    loss.backward()
    weights = dict(model.named_parameters())
    idle = [name for name, p in weights.items() if p.grad is None or not p.grad.any()]
    unseen = re.compile(r"bottom\.transformer\.blocks\.\d+\.key\.bias")
    assert idle == [name for name in weights if unseen.fullmatch(name)]


def test_forward_adds_the_aids_of_the_game_only_to_mpt_and_only_with_alpha() -> None:
    inputs = random_inputs(schema(), 2, 4)
    mpt, mmoe = build({"mixer": "mpt"}), build({"mixer": "mmoe"})
    assert mpt(inputs).shared_logits is None
    assert mpt(inputs, alpha=0.0).shared_logits is not None
    assert mmoe(inputs, alpha=0.0).shared_logits is None
    assert torch.equal(mpt(inputs).logits, mpt(inputs, alpha=0.7).logits)


@torch.no_grad()
def test_only_mpt_has_keys() -> None:
    inputs = random_inputs(schema(), 2, 4)
    assert build({"mixer": "mpt"}).represent(inputs).keys is not None
    assert build({"mixer": "aftb"}).represent(inputs).keys is None


@torch.no_grad()
def test_a_head_is_a_copy_that_outlives_changes_of_the_model() -> None:
    model, inputs = build({"mixer": "mpt"}), random_inputs(schema(), 2, 4)
    head, tensors = model.head(1), model.represent(inputs).tensors()
    before = head(*tensors)
    refill(model, seed=9)
    assert torch.equal(head(*tensors), before)
    assert not any(p.requires_grad for p in head.parameters())


@pytest.mark.parametrize(
    "values",
    [
        {"mixer": "aitm", "bottom": "stem"},
        {"mixer": "esmm", "bottom": "dtrn"},
        {"mixer": "esmm", "tower_units": ()},
        {"mixer": "mpt", "shared_experts": 2},
        {"mixer": "mmoe", "specific_experts": 2},
        {"mixer": "cgc", "layers": 2},
        {"mixer": "mmoe", "rep_specific": "expert"},
        {"mixer": "mpt", "dropout": (0.1,)},
        {"dtrn": {"width": 5, "heads": 2}},
    ],
)
def test_impossible_switches_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ModelConfig.model_validate(values)


def test_esmm_needs_both_steps_of_its_funnel() -> None:
    with pytest.raises(ConfigError, match=r"two tasks, .*only a"):
        build_model(ModelConfig(mixer="esmm"), schema(), ["a"])


def test_a_representation_by_experts_has_no_heads() -> None:
    model = build({"mixer": "cgc", "rep_specific": "expert", "specific_experts": 2})
    assert model.represent(random_inputs(schema(), 2, 4)).specific.shape == (4, 2, 6)
    with pytest.raises(ConfigError, match="pre_tower"):
        model.head(0)


CENSUS = [9, 52, 47, 3, 24, 15, 5, 10, 2, 3, 6, 8, 6, 6, 51, 38, 8, 10, 9, 10, 3, 4, 5, 43, 43, 43]
CENSUS += [5, 3]
ALICCP = [98, 14, 3, 8, 4, 4, 3, 5, 467_298, 6_929, 263_942, 106_399, 5_888, 104_830, 51_878]
ALICCP += [37_148]
BYTEREC = [70_711, 396, 3_687_157, 778_113, 456, 5, 82_840, 71_681]


@pytest.mark.parametrize(
    ("sizes", "dense", "shape", "two_tasks", "three_tasks"),
    [
        (CENSUS, 11, (4, (256, 128), (64, 32)), 217_548, 293_060),
        (ALICCP, 0, (5, (128, 64), (32, 32)), 5_285_043, 5_307_125),
        (BYTEREC, 0, (4, (128, 64), (32, 32)), 18_809_600, 18_825_442),
    ],
    ids=["census", "aliccp", "byterec"],
)
def test_mpt_has_its_published_sizes(
    sizes: list[int], dense: int, shape: tuple[Any, Any, Any], two_tasks: int, three_tasks: int
) -> None:
    """Beside the rows for padding and unknown values, which the published tables lack."""
    d, experts, towers = shape
    config = ModelConfig(embedding_dim=d, expert_units=experts, tower_units=towers)
    added = d * (1 + len(sizes))
    for tasks, want in ((["a", "b"], two_tasks), (["a", "b", "c"], three_tasks)):
        with torch.device("meta"):
            model = build_model(config, categorical_schema(sizes, dense), tasks)
        assert sum(p.numel() for p in model.parameters()) - added == want


def test_stem_has_its_published_size() -> None:
    config = ModelConfig(
        bottom="stem", mixer="aftb", expert_units=(512, 512, 512), tower_units=(128, 64)
    )
    with torch.device("meta"):
        model = build_model(config, categorical_schema([7] * 8), ["finish", "like"])
    dense = sum(p.numel() for p in model.parameters()) - model.table.numel()
    assert dense == 6_112_406
    assert model.table.shape[1] == 48
