"""Prompts as they are served: brought into another form once, scored beside any others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.bundle import Bundle, open_bundle
from contract.manifest import ITEM_ROWS
from service.encoder import Encoder
from service.engine import Cancellation, Engine
from service.features import NO_FEATURES
from service.messages import ScoreRequest
from tests.builders import DTRN_CONFIG, ITEMS, WIDE_CONFIG, exported

Arrays = Mapping[str, NDArray[Any]]
WITH_EXPERT = WIDE_CONFIG | {"tune": WIDE_CONFIG["tune"] | {"expert_units": [12, 10]}}


@pytest.fixture(scope="module", params=[WITH_EXPERT, DTRN_CONFIG], ids=["expert", "conditioned"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("form")
    exported(folder, folder / "bundle", request.param)
    return open_bundle(folder / "bundle")


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine.open(bundle, exact=True)


def call_of(bundle: Bundle, engine: Engine, items: int) -> Arrays:
    ids: list[int | str] = [100 + n % ITEMS for n in range(items)]
    request = ScoreRequest(user_id="user-1", item_ids=ids, history={"clicked": [100, 103]})
    return Encoder(bundle.lookups, by_row=engine.by_row).encode(request, NO_FEATURES)


def prompts_of(bundle: Bundle, engine: Engine, count: int) -> Sequence[Arrays]:
    """Each prepared by itself, as a graft does."""
    chance = np.random.default_rng(0)
    specs = bundle.manifest.prompt_tensors

    def drawn() -> Arrays:
        shapes = {spec.name: [int(size) for size in spec.shape] for spec in specs}
        return {name: chance.normal(0, 0.3, s).astype(np.float32) for name, s in shapes.items()}

    return tuple(engine.prepared(drawn()) for _ in range(count))


def stacked(prompts: Sequence[Arrays]) -> Arrays:
    return {name: np.stack([prompt[name] for prompt in prompts]) for name in prompts[0]}


@pytest.mark.parametrize("items", [1, 2, 5, 16, 100])
@pytest.mark.parametrize("others", [1, 2, 12, 39])
def test_a_prompt_scores_to_the_bit_the_same_whoever_is_beside_it(
    bundle: Bundle, engine: Engine, items: int, others: int
) -> None:
    """Kernels differ by shape: alone, before and behind others it must be the same sum."""
    call = call_of(bundle, engine, items)
    mine, *theirs = prompts_of(bundle, engine, 1 + others)
    alone = engine.answer(call, (), stacked([mine]), Cancellation()).prompts[:, 0]
    assert np.ptp(alone) > 0 or items == 1
    for chosen, place in (([mine, *theirs], 0), ([*theirs, mine], others)):
        beside = engine.answer(call, (), stacked(chosen), Cancellation()).prompts[:, place]
        assert beside.tobytes() == alone.tobytes()


def test_the_graph_for_one_user_scores_prompts_as_the_general_one_does(
    bundle: Bundle, engine: Engine
) -> None:
    call, bank = call_of(bundle, engine, 7), stacked(prompts_of(bundle, engine, 3))
    described = call
    if engine.by_row:
        described = {**call, **bundle.lookups.items.arrays(call[ITEM_ROWS])}
    one = engine.answer(call, (), bank, Cancellation()).prompts
    general = engine.run(described, (), bank, Cancellation()).prompts
    np.testing.assert_allclose(one, general, rtol=0, atol=2e-6)


def test_a_bundle_names_the_form_of_its_prompts(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.prompt_form is not None
    assert manifest.serving is not None
    assert manifest.serving.prompt_head is not None
    held = {spec.name for spec in manifest.prompt_form.outputs}
    assert held <= {spec.name for spec in manifest.prompt_head.inputs}
    assert held <= {spec.name for spec in manifest.serving.prompt_head.inputs}
    raw = [spec.name for spec in manifest.prompt_form.inputs]
    assert sorted(raw) == sorted(spec.name for spec in manifest.prompt_tensors)
