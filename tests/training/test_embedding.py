from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from tests.training.worlds import D, random_inputs, schema
from training.bottoms import PlainBottom, StemBottom
from training.config import ModelConfig
from training.embedding import FeatureEmbedding, behaviour_counts, split_order

PLAIN = ModelConfig(embedding_dim=D, init="torch", history_counts=False)
COUNTED = ModelConfig(embedding_dim=D, init="torch")


def embedding() -> FeatureEmbedding:
    torch.manual_seed(0)
    return FeatureEmbedding(schema(), D, "torch")


def test_a_bag_is_the_mean_of_what_it_holds() -> None:
    e, inputs = embedding(), random_inputs(schema(), 2, 3)
    bags = torch.tensor([[30, 31, 0], [0, 0, 33], [0, 0, 0]], dtype=torch.int32)
    genres = e.item_fields(replace(inputs, item_bags=bags))[:, 1]  # fields: item, genres, genre
    assert_close(genres[0], (e.table[30] + e.table[31]) / 2)
    assert_close(genres[1], e.table[33])
    assert not genres[2].any()


def test_fields_stand_in_schema_order() -> None:
    e, inputs = embedding(), random_inputs(schema(), 2, 3)
    found = e.item_fields(inputs)
    assert torch.equal(found[:, 0], e.table[inputs.item_ids[:, 0]])
    assert torch.equal(found[:, 2], e.table[inputs.item_ids[:, 1]])


def test_a_history_is_the_mean_of_its_events_per_behaviour_and_attribute() -> None:
    e = embedding()
    history = torch.zeros(2, 2, 3, 2, dtype=torch.int32)
    history[0, 1, :2] = torch.tensor([[11, 30], [12, 31]])
    means = e.behaviour_means(history)  # (U, M * A, d)
    assert_close(means[0, 2], (e.table[11] + e.table[12]) / 2)
    assert_close(means[0, 3], (e.table[30] + e.table[31]) / 2)
    assert not means[0, :2].any()
    assert not means[1].any()


def test_what_stands_beyond_the_end_of_a_history_changes_nothing() -> None:
    e, inputs = embedding(), random_inputs(schema(), 4, 1)
    dirty = inputs.history.clone()
    dirty[..., 1] = torch.where(dirty[..., 0] == 0, 30, dirty[..., 1])
    assert torch.equal(e.behaviour_means(dirty), e.behaviour_means(inputs.history))


def test_a_shorter_history_axis_gives_the_same() -> None:
    e = embedding()
    history = random_inputs(schema(), 4, 1).history
    history[:, :, 3:] = 0
    assert_close(e.behaviour_means(history[:, :, :3]), e.behaviour_means(history))


def test_the_padding_row_is_zero_and_learns_nothing() -> None:
    e = embedding()
    e.look_up(torch.tensor([0, 3, 0])).sum().backward()  # type: ignore[no-untyped-call]
    assert not e.table[0].any()
    assert e.table.grad is not None
    assert not e.table.grad[0].any()
    assert e.table.grad[3].any()


@pytest.mark.parametrize("shape", [(40,), (6, 5), (2, 3, 4), (0, 3)])
def test_a_row_learns_from_every_place_that_looked_it_up(shape: tuple[int, ...]) -> None:
    e = embedding()
    rows = torch.randint(0, len(e.table), shape, dtype=torch.int32)
    weights = torch.randn(*shape, D)
    (e.look_up(rows) * weights).sum().backward()  # type: ignore[no-untyped-call]
    plain = e.table.detach().clone().requires_grad_()
    found = functional.embedding(rows, plain, padding_idx=0)
    (found * weights).sum().backward()  # type: ignore[no-untyped-call]
    assert e.table.grad is not None
    assert plain.grad is not None
    assert_close(e.table.grad, plain.grad)


def test_split_order_names_the_unsplit_columns() -> None:
    """H is [dense, fields, behaviours] over both places; each part keeps that order."""
    order = split_order(schema(), D)
    age, price, user, tastes, item, genres, genre, behaviours = 0, 1, 2, 6, 10, 14, 18, 22
    want = [age, *range(user, user + D), *range(tastes, tastes + D)]
    want += range(behaviours, behaviours + 4 * D)
    want += [price, *range(item, item + D), *range(genres, genres + D), *range(genre, genre + D)]
    assert order == want


def test_dense_columns_come_first_in_each_part() -> None:
    inputs = random_inputs(schema(), 2, 3)
    h = PlainBottom(schema(), PLAIN)(inputs).base
    assert torch.equal(h.user[:, :1], inputs.user_dense)
    assert torch.equal(h.item[:, :1], inputs.item_dense)


def test_the_joint_stem_table_is_bit_equal_to_a_table_per_task_and_a_shared_one() -> None:
    tasks, inputs = 2, random_inputs(schema(), 3, 5)
    stem = StemBottom(schema(), PLAIN, tasks)
    views = stem(inputs)
    apart = []
    for chunk in range(tasks + 1):
        plain = PlainBottom(schema(), PLAIN)
        with torch.no_grad():
            plain.embedding.table.copy_(stem.embedding.table[:, chunk * D : (chunk + 1) * D])
        apart.append(plain(inputs).base)
    for t in range(tasks):
        assert torch.equal(views.own.user[t], apart[t].user)
        assert torch.equal(views.own.item[t], apart[t].item)
    assert torch.equal(views.base.user, apart[tasks].user)
    assert torch.equal(views.base.item, apart[tasks].item)


def test_the_stem_gate_takes_dense_columns_once() -> None:
    inputs = random_inputs(schema(), 3, 5)
    views = StemBottom(schema(), PLAIN, 2)(inputs)
    assert torch.equal(views.gate.item[1, :, :1], inputs.item_dense)
    summed = views.own.item[1, :, 1:] + views.base.item[:, 1:]
    assert torch.equal(views.gate.item[1, :, 1:], summed)


def test_a_history_counts_by_how_much_of_it_is_known() -> None:
    history = torch.zeros(2, 2, 3, 2, dtype=torch.int32)
    history[0, 0, :3, 0], history[0, 1, :1, 0] = 11, 12
    found = behaviour_counts(history, 3)
    assert_close(found, torch.tensor([[1.0, 0.5], [0.0, 0.0]]))
    longer = functional.pad(history, (0, 0, 0, 4))
    assert torch.equal(behaviour_counts(longer, 3), found)


def test_counts_are_dense_columns_of_the_user_behind_the_others() -> None:
    inputs = random_inputs(schema(), 3, 5)
    bottom = PlainBottom(schema(), COUNTED)
    h = bottom(inputs).base
    counts = behaviour_counts(inputs.history, schema().history_length)
    assert counts.any()
    assert torch.equal(h.user[:, :3], torch.cat([inputs.user_dense, counts], dim=1))
    assert h.user.shape[1] == bottom.user_width == PlainBottom(schema(), PLAIN).user_width + 2
    stem = StemBottom(schema(), COUNTED, 2)
    views = stem(inputs)
    assert torch.equal(views.gate.user[1, :, :3], h.user[:, :3])  # once, not twice
    assert stem.spans == bottom.spans
