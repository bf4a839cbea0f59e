from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from contract.schema import CategoricalField, FeatureSchema, VocabularySpec
from tests.training.worlds import HISTORY, random_inputs, refill, schema, tiled, widened
from training.config import ModelConfig
from training.dtrn import DtrnBottom
from training.dtrn_pooling import against_all, by_request, own_events
from training.dtrn_transformer import Block
from training.errors import ConfigError
from training.inputs import Inputs
from training.model import MultiTaskModel, build_model

INPUTS = random_inputs(schema(), 4, 13)
TASKS = ["a", "b", "c"]


def dtrn(**switches: Any) -> tuple[MultiTaskModel, DtrnBottom]:  # noqa: ANN401
    sizes = {"width": 6, "condition_width": 3, "hyper_width": 5, **switches}
    config = ModelConfig.model_validate(
        {
            "bottom": "dtrn",
            "mixer": "mmoe",
            "embedding_dim": 4,
            "expert_units": (10, 6),
            "gate_units": (),
            "shared_experts": 2,
            "tower_units": (5,),
            "dtrn": sizes,
        }
    )
    torch.manual_seed(0)
    model = build_model(config, schema(), TASKS).eval()
    assert isinstance(model.bottom, DtrnBottom)
    with torch.no_grad():  # the initial tables are nearly zero
        model.table[1:].normal_(generator=torch.Generator().manual_seed(1))
    return model, model.bottom


def interests(bottom: DtrnBottom, inputs: Inputs = INPUTS) -> Tensor:
    fields = bottom.fields(bottom.embedding, inputs)
    events = bottom.sequences(bottom.embedding, inputs.history)
    return bottom.interests(fields, events, bottom.conditions())


SWITCHES: list[dict[str, Any]] = [
    {},
    {"pooling": "mean"},
    {"trm": "element"},
    {"trm": "off"},
    {"trm_act": "sigmoid", "blocks": 2},
]


def worked_example(**switches: Any) -> DtrnBottom:  # noqa: ANN401
    """Eight fields, three behaviours of two attributes, two tasks."""
    fields = tuple(
        CategoricalField(name=f"f{i}", side="item" if i < 5 else "user", vocabulary="v")
        for i in range(8)
    )
    of = FeatureSchema(
        vocabularies=(VocabularySpec(name="v", type="int64", size=3),),
        fields=fields,
        behaviours=("click", "cart", "buy"),
        history_length=20,
        history_fields=("f0", "f1"),
        user_id_type="int64",
        item_id_type="int64",
        user_id_field=None,
        item_id_field=None,
    )
    sizes = {"width": 16, "condition_width": 16, "hyper_width": 32, "feed_forward": 64}
    values: dict[str, Any] = {"bottom": "dtrn", "mixer": "mmoe", "dtrn": {**sizes, **switches}}
    values["history_counts"] = False  # the example has none
    return DtrnBottom(of, ModelConfig.model_validate(values), tasks=2)


@pytest.mark.parametrize(
    ("switches", "want"), [({}, 9_226), ({"pooling": "mean"}, 8_714), ({"trm": "element"}, 54_464)]
)
def test_the_worked_example_has_its_size(switches: dict[str, Any], want: int) -> None:
    bottom = worked_example(**switches)
    table = bottom.embedding.table.numel()
    assert sum(p.numel() for p in bottom.parameters()) - table == want
    assert bottom.conditions().numel() == 576


@torch.no_grad()
def test_at_the_start_all_tasks_have_the_same_interests_bit_by_bit() -> None:
    _, bottom = dtrn()
    found = interests(bottom)
    assert found.any()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@torch.no_grad()
def test_at_the_start_it_is_a_plain_pre_norm_transformer() -> None:
    _, bottom = dtrn()
    events = bottom.sequences(bottom.embedding, INPUTS.history)
    tokens, known = events.tokens, events.known
    found = bottom.transformer(tokens, known, bottom.conditions())[0]  # (M, U, L, w)
    block = bottom.transformer.blocks[0]
    assert isinstance(block, Block)
    plain = nn.TransformerEncoderLayer(
        6, 2, dim_feedforward=24, dropout=0.0, norm_first=True, batch_first=True
    ).eval()
    attention = plain.self_attn
    joint = [block.query, block.key, block.value]
    attention.in_proj_weight.copy_(torch.cat([linear.weight for linear in joint]))
    attention.in_proj_bias.copy_(torch.cat([linear.bias for linear in joint]))
    attention.out_proj.load_state_dict(block.out.state_dict())
    plain.linear1.load_state_dict(block.widen.state_dict())
    plain.linear2.load_state_dict(block.narrow.state_dict())
    for u, b in ((1, 0), (2, 1), (3, 0)):
        length = int(known[u, b].sum())
        want = nn.functional.layer_norm(plain(tokens[u, b, :length].unsqueeze(0)), (6,))
        assert_close(found[b, u, :length], want[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("per", ["field", "element"])
@torch.no_grad()
def test_at_the_start_refinement_is_exactly_the_identity(per: str) -> None:
    _, bottom = dtrn(trm=per)
    views = bottom(INPUTS)
    plain = views.base.materialised()
    for t in range(len(TASKS)):
        assert_close(views.own.materialised()[t], plain, rtol=0, atol=1e-6)
    refined = bottom.refinement
    assert refined is not None
    stacked = bottom._beside(bottom.fields(bottom.embedding, INPUTS), interests(bottom).flatten(2))
    assert torch.equal(refined(stacked).materialised(), stacked.materialised())


@torch.no_grad()
def test_plain_sigmoid_starts_at_one_half() -> None:
    _, bottom = dtrn(trm_act="sigmoid")
    views = bottom(INPUTS)
    assert_close(views.own.materialised()[0] * 2, views.base.materialised(), rtol=0, atol=1e-6)


def test_the_first_step_teaches_only_the_zero_layers_of_the_conditions() -> None:
    model, bottom = dtrn()
    refill(model.mixer)
    refill(model.towers)
    model(INPUTS).logits.square().sum().backward()
    conditions, refinement = bottom.conditions, bottom.refinement
    assert conditions.network is not None
    assert refinement is not None
    waiting = [conditions.task, conditions.behaviour]
    waiting += [conditions.network.weights[0], refinement.weigh.weights[0]]
    awake = [conditions.network.weights[1], refinement.weigh.weights[1]]
    assert not any(p.grad is None or p.grad.any() for p in waiting)
    assert all(p.grad is not None and p.grad.any() for p in awake)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@torch.no_grad()
def test_baking_changes_no_bit_and_drops_the_hypernetwork(switches: dict[str, Any]) -> None:
    model, _ = dtrn(**switches)
    refill(model)
    before, size = model(INPUTS).logits, sum(p.numel() for p in model.parameters())
    model.bake()
    assert torch.equal(model(INPUTS).logits, before)
    assert sum(p.numel() for p in model.parameters()) < size
    assert not any("conditions" in name for name, _ in model.named_parameters())
    assert "bottom.conditions.baked" in model.state_dict()


@torch.no_grad()
def test_equal_task_vectors_give_equal_interests_and_others_do_not() -> None:
    model, bottom = dtrn()
    refill(model)
    bottom.conditions.task[1] = bottom.conditions.task[0]
    found = interests(bottom)
    assert_close(found[0], found[1], rtol=0, atol=1e-5)
    assert float((found[0] - found[2]).abs().max()) > 1e-3


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@torch.no_grad()
def test_padded_content_changes_no_bit(switches: dict[str, Any]) -> None:
    model, _ = dtrn(**switches)
    refill(model)
    dirty = INPUTS.history.clone()
    dirty[..., 1] = torch.where(dirty[..., 0] == 0, 30, dirty[..., 1])
    found = model(replace(INPUTS, history=dirty)).logits
    assert torch.equal(found, model(INPUTS).logits)


@pytest.mark.parametrize("pooling", ["target", "mean"])
@torch.no_grad()
def test_longer_padding_changes_nothing(pooling: str) -> None:
    model, _ = dtrn(pooling=pooling)
    refill(model)
    short = INPUTS.history.clone()
    short[:, :, HISTORY - 2 :] = 0
    long = model(replace(INPUTS, history=short)).logits
    cut = model(replace(INPUTS, history=short[:, :, : HISTORY - 2])).logits
    assert_close(cut, long, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["target", "mean"])
def test_an_empty_sequence_is_its_learned_vector_for_every_task(pooling: str) -> None:
    model, bottom = dtrn(pooling=pooling)
    refill(model)
    empty = replace(INPUTS, history=torch.zeros_like(INPUTS.history))
    found = interests(bottom, empty)
    assert torch.equal(found, bottom.sequences.nothing.expand_as(found))
    model(empty).logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("users", [1, 4])
@torch.no_grad()
def test_pooling_by_request_equals_pooling_row_by_row(users: int) -> None:
    """Rows of one request, rows of several in any order, and each row with a copy of its user."""
    model, _ = dtrn()
    refill(model)
    model.double()
    inputs = widened(random_inputs(schema(), users, 11, seed=5))
    want = model(tiled(inputs)).logits
    assert_close(model(inputs).logits, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("row_user", [[3, 1, 0, 2], [2, 0, 2, 2, 3, 0, 1, 2, 0, 3, 2], [1, 1]])
def test_the_two_ways_of_pooling_agree(row_user: list[int]) -> None:
    g = torch.Generator().manual_seed(4)
    n = torch.randn(3, 2, 4, 5, 6, generator=g, dtype=torch.float64)
    query = torch.randn(3, 2, len(row_user), 6, generator=g, dtype=torch.float64)
    known = (torch.arange(5) < torch.tensor([[1, 5], [2, 1], [3, 2], [5, 5]])[..., None]).double()
    users = torch.tensor(row_user, dtype=torch.int32)
    one = against_all(query, n, own_events(known, users))
    assert_close(by_request(query, n, known, users), one, rtol=0, atol=1e-12)


def test_without_behaviours_there_is_nothing_to_read() -> None:
    config = ModelConfig(bottom="dtrn", mixer="mmoe")
    with pytest.raises(ConfigError, match="behaviour"):
        build_model(config, schema(behaviours=False), ["a"])
