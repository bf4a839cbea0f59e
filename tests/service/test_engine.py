from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.bundle import Bundle, open_bundle
from contract.errors import CorruptBundle
from contract.manifest import TaskEntry
from contract.prompt import read_prompt
from contract.schema import TensorSpec
from service.encoder import Encoder
from service.engine import Cancellation, Engine
from service.errors import ConfigError, DeadlineExceeded
from tests.service.tiny import BUNDLE, DTRN, NOTHING, WIDE, prompt_bytes, request


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


@pytest.fixture(scope="module", params=[BUNDLE, DTRN], ids=["plain", "conditioned"])
def either(request: pytest.FixtureRequest) -> Bundle:
    """Of either form of prompts."""
    return open_bundle(request.param)


def arrays(bundle: Bundle, items: int) -> dict[str, NDArray[Any]]:
    wanted = request(item_ids=[100 + n % 20 for n in range(items)], history={"clicked": [100]})
    return Encoder(bundle.lookups).encode(wanted, NOTHING)


def bank_of(*tasks: str, folder: Path = BUNDLE) -> dict[str, NDArray[np.float32]]:
    prompts = [read_prompt(prompt_bytes(task, folder)).tensors for task in tasks]
    return {name: np.stack([p[name] for p in prompts]) for name in prompts[0]}


def test_the_prompt_graph_scores_all_prompts_as_it_scores_each(either: Bundle) -> None:
    engine, call, folder = Engine.open(either), arrays(either, 7), either.folder
    both = engine.run(call, (), bank_of("share", "skip", folder=folder), Cancellation()).prompts
    assert both.shape == (7, 2)
    for at, task in enumerate(("share", "skip")):
        alone = engine.run(call, (), bank_of(task, folder=folder), Cancellation()).prompts
        assert alone[:, 0].tobytes() == both[:, at].tobytes()


@pytest.mark.parametrize("items", [1, 2, 5, 16, 100])
@pytest.mark.parametrize("others", [1, 2, 12, 39])
def test_a_prompt_scores_to_the_bit_the_same_whoever_is_beside_it(
    either: Bundle, items: int, others: int
) -> None:
    """Kernels differ by shape: alone, before and behind others it must be the same sum."""
    engine, call = Engine.open(either), arrays(either, items)
    rng = np.random.default_rng(0)
    mine = bank_of("share", folder=either.folder)
    theirs = {
        name: rng.normal(size=(others, *tensor.shape[1:])).astype(np.float32)
        for name, tensor in mine.items()
    }
    alone = engine.run(call, (), mine, Cancellation()).prompts[:, 0]
    for pair, place in (((mine, theirs), 0), ((theirs, mine), others)):
        bank = {name: np.concatenate([part[name] for part in pair]) for name in mine}
        beside = engine.run(call, (), bank, Cancellation()).prompts[:, place]
        assert beside.tobytes() == alone.tobytes()


def test_many_threads_share_the_sessions(bundle: Bundle) -> None:
    engine = Engine.open(bundle)
    calls = [arrays(bundle, 1 + n) for n in range(8)]
    expected = [engine.run(c, ["click"], None, Cancellation()).heads["click"] for c in calls]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            found = pool.map(lambda c: engine.run(c, ["click"], None, Cancellation()), calls)
            for want, have in zip(expected, found, strict=True):
                assert want.tobytes() == have.heads["click"].tobytes()


def test_a_cancelled_call_is_a_passed_deadline_and_harms_no_other(bundle: Bundle) -> None:
    engine, call = Engine.open(bundle), arrays(bundle, 3)
    cancelled = Cancellation()
    cancelled.cancel()
    with pytest.raises(DeadlineExceeded):
        engine.run(call, ["click"], None, cancelled)
    assert engine.run(call, ["click"], None, Cancellation()).heads["click"].shape == (3,)


def test_a_device_that_is_not_there_is_refused_not_replaced(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="cuda"):
        Engine.open(bundle, ["cuda"])


def test_a_device_that_is_not_there_falls_back_to_one_that_was_named(bundle: Bundle) -> None:
    assert Engine.open(bundle, ["cuda", "cpu"]).provider == "CPUExecutionProvider"


@pytest.fixture(scope="module")
def wide() -> Bundle:
    return open_bundle(WIDE)


@pytest.mark.parametrize("items", [1, 7])
@pytest.mark.parametrize("folder", [WIDE, DTRN], ids=["plain", "conditioned"])
def test_the_graph_for_requests_scores_as_the_general_ones_do(folder: Path, items: int) -> None:
    opened = open_bundle(folder)
    engine = Engine.open(opened, exact=True)
    wanted = request(item_ids=[100 + n for n in range(items)], history={"clicked": [100]})
    least = Encoder(opened.lookups, by_row=engine.by_row).encode(wanted, NOTHING)
    full = Encoder(opened.lookups).encode(wanted, NOTHING)
    bank = bank_of("share", folder=folder)
    one = engine.answer(least, ["like", "click"], bank, Cancellation())
    many = engine.run(full, ["like", "click"], bank, Cancellation())
    np.testing.assert_allclose(one.prompts, many.prompts, rtol=0, atol=1e-6)
    for task in ("like", "click"):
        np.testing.assert_allclose(one.heads[task], many.heads[task], rtol=0, atol=1e-6)


def test_items_that_are_described_go_through_the_general_graphs(wide: Bundle) -> None:
    engine = Engine.open(wide)
    call = Encoder(wide.lookups, by_row=engine.by_row).encode(
        request(item_ids=[100], items=[{"price": 3.0}]), NOTHING
    )
    found = engine.answer(call, ["click"], None, Cancellation()).heads["click"]
    want = engine.run(call, ["click"], None, Cancellation()).heads["click"]
    assert found.tobytes() == want.tobytes()


def test_8_bits_are_used_where_they_passed_unless_exact_scores_are_asked_for(wide: Bundle) -> None:
    call = Encoder(wide.lookups, by_row=True).encode(request(item_ids=[100, 101]), NOTHING)
    drift = wide.manifest.serving.drift if wide.manifest.serving else 0.0
    scored = [
        Engine.open(wide, exact=exact).answer(call, ["click"], None, Cancellation()).heads["click"]
        for exact in (False, True)
    ]
    assert 0 < np.abs(scored[0] - scored[1]).max() <= 3 * drift


def with_manifest(bundle: Bundle, **changes: object) -> Bundle:
    manifest = bundle.manifest.model_copy(update=changes)
    return Bundle(bundle.folder, manifest, bundle.lookups, bundle.golden)


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("score", "float32", (3,)),
        TensorSpec("score", "int32", ("N",)),
        TensorSpec("scores", "float32", ("N",)),
        TensorSpec("score", "float32", ("N", 1)),
    ],
)
def test_a_graph_with_another_interface_than_promised_is_refused(
    bundle: Bundle, spec: TensorSpec
) -> None:
    first = bundle.manifest.tasks[0]
    graph = first.graph.model_copy(update={"outputs": (spec,)})
    tasks = (TaskEntry(name=first.name, graph=graph, parameters=1),)
    with pytest.raises(CorruptBundle, match=r"click\.onnx"):
        Engine.open(with_manifest(bundle, tasks=tasks))


def test_a_graph_that_does_not_load_is_named(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    (folder / "prompt_head.onnx").write_bytes(b"not a graph")
    broken = Bundle(folder, bundle.manifest, bundle.lookups, bundle.golden)
    with pytest.raises(CorruptBundle, match=r"prompt_head\.onnx does not load"):
        Engine.open(broken)
