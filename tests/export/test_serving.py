"""The graphs that answer requests: what they leave out, share and promise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from contract.bundle import Bundle, open_bundle
from contract.manifest import ITEM_ROWS, GraphSpec, Manifest
from export.catalogue import tabulated
from export.composed import composed
from export.evaluate import evaluate_bundle, score_bundle
from export.graph import OPSET, GraphFolder
from export.modules import arrays_of
from export.one_user import for_one_user
from export.parity import Graphs, Sessions
from export.quality import ServingSession, compare, requests
from export.quantise import quantised
from export.rewrite import folded
from export.serving import QUANTISED_FILE, ServingOptions, Traced, write_serving
from tests.builders import WIDE, WIDE_CONFIG, exported
from training.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Wide:
    bundle: Bundle
    held_out: Dataset
    models: Traced

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Wide:
    folder = tmp_path_factory.mktemp("wide")
    _, prepared, result = exported(folder, folder / "bundle", WIDE_CONFIG)
    manifest = result.manifest

    def load(spec: GraphSpec | None) -> onnx.ModelProto:
        assert spec is not None
        return onnx.load(result.folder / spec.file)

    models = Traced(
        backbone=load(manifest.backbone),
        heads={t.name: load(t.graph) for t in manifest.tasks},
        prompt_form=load(manifest.prompt_form),
        prompt_head=load(manifest.prompt_head),
    )
    return Wide(open_bundle(result.folder), prepared.test, models)


def both_ways(wide: Wide, model: onnx.ModelProto, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 7 items for one user: by a serving graph, and by backbone and heads."""
    session = ServingSession(folder, GraphFolder(folder).write(model, "one.onnx"))
    inputs = wide.held_out.batch(wide.held_out.requests.argsort()[:1], ()).inputs
    rows = np.arange(7, dtype=np.int32)
    arrays = arrays_of(inputs) | wide.bundle.lookups.items.arrays(rows)
    arrays |= {ITEM_ROWS: rows, "row_user": np.zeros(7, dtype=np.int32)}
    sessions = Sessions(Graphs.of(wide.bundle))
    seen = sessions.represent(arrays)
    single = [sessions.run(f"head {t.name}", seen)["score"] for t in wide.manifest.tasks]
    return session.scores(arrays), np.stack(single, axis=1)


def test_one_graph_scores_as_backbone_and_heads_do(wide: Wide, tmp_path: Path) -> None:
    found, want = both_ways(wide, composed(wide.models.backbone, wide.models.heads), tmp_path)
    np.testing.assert_array_equal(found, want)


def test_for_one_user_nothing_is_gathered_and_nothing_changes(wide: Wide, tmp_path: Path) -> None:
    model = for_one_user(folded(composed(wide.models.backbone, wide.models.heads)))
    assert "row_user" not in [value.name for value in model.graph.input]
    found, want = both_ways(wide, model, tmp_path)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-6)


def test_tables_take_the_place_of_all_item_inputs(wide: Wide, tmp_path: Path) -> None:
    model = for_one_user(folded(composed(wide.models.backbone, wide.models.heads)))
    over_rows = tabulated(model, wide.bundle.lookups.items, 1 << 20)
    assert over_rows is not None
    names = [value.name for value in over_rows.graph.input]
    assert ITEM_ROWS in names
    assert not [name for name in names if name.startswith("item_") and name != ITEM_ROWS]
    found, want = both_ways(wide, over_rows, tmp_path)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-6)


def test_tables_larger_than_the_budget_are_not_made(wide: Wide) -> None:
    model = for_one_user(folded(composed(wide.models.backbone, wide.models.heads)))
    size = wide.manifest.serving.table_bytes if wide.manifest.serving else 0
    items = wide.bundle.lookups.items
    assert tabulated(model, items, size - 1000) is None
    assert tabulated(model, items, size) is not None


def test_8_bits_are_near_the_exact_scores_and_not_equal(wide: Wide, tmp_path: Path) -> None:
    model = quantised(for_one_user(folded(composed(wide.models.backbone, wide.models.heads))))
    assert model is not None
    found, want = both_ways(wide, model, tmp_path)
    assert 0 < np.abs(found - want).max() < 0.01


def test_a_graph_of_small_products_is_not_quantised(wide: Wide) -> None:
    head = next(iter(wide.models.heads.values()))
    assert quantised(folded(head)) is None


def product(inputs: str, wide_as: int) -> onnx.ModelProto:
    """One Gemm of a constant (64, n)."""
    chance = np.random.default_rng(0)
    weights = {"w": chance.normal(size=(64, wide_as)), "b": chance.normal(size=wide_as)}
    graph = helper.make_graph(
        [helper.make_node("Gemm", [inputs, "w", "b"], ["y"])],
        "product",
        [helper.make_tensor_value_info(inputs, TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", wide_as])],
        [numpy_helper.from_array(value.astype(np.float32), n) for n, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


@pytest.mark.parametrize(
    ("inputs", "wide_as", "gains"),
    [
        ("item_dense", 32, False),
        ("item_dense", 64, True),
        ("user_dense", 64, False),
        ("user_dense", 1024, True),
    ],
)
def test_a_product_of_one_row_must_be_larger_to_be_quantised(
    *, inputs: str, wide_as: int, gains: bool
) -> None:
    assert (quantised(product(inputs, wide_as)) is not None) is gains


def test_beside_8_bits_tables_lie_in_16_but_those_that_prompts_read(wide: Wide) -> None:
    serving = wide.manifest.serving
    assert serving is not None
    assert serving.quantised is not None
    graph = onnx.load(wide.bundle.folder / serving.quantised.file, load_external_data=False).graph
    outputs = {value.name for value in graph.output}
    tables = {i.name: i.data_type for i in graph.initializer if ".over_items" in i.name}
    read = {n.input[0]: n.output[0] in outputs for n in graph.node if n.input[0] in tables}
    assert set(read.values()) == {True, False}
    for name, leaves in read.items():
        assert tables[name] == (TensorProto.FLOAT if leaves else TensorProto.FLOAT16)


@pytest.mark.parametrize("strict", [{"auc_loss": -1.0}, {"overlap": 1.1}])
def test_8_bits_that_fail_the_gate_are_not_in_the_bundle(
    wide: Wide, tmp_path: Path, strict: dict[str, float]
) -> None:
    options = ServingOptions(**strict)  # type: ignore[arg-type]  # floats
    folder = GraphFolder(tmp_path)
    serving = write_serving(wide.models, wide.held_out, folder, options)
    assert serving.quantised is None
    assert serving.evidence
    assert not (tmp_path / QUANTISED_FILE).exists()


def test_the_evidence_is_what_a_second_look_finds(wide: Wide) -> None:
    serving = wide.manifest.serving
    assert serving is not None
    assert serving.quantised is not None
    pair = (
        ServingSession(wide.bundle.folder, serving.exact),
        ServingSession(wide.bundle.folder, serving.quantised),
    )
    evidence, drift = compare(pair, wide.held_out, [t.name for t in wide.manifest.tasks])
    assert evidence == serving.evidence
    assert drift == serving.drift > 0


def test_a_bundle_is_measured_by_the_graph_that_answers_requests(wide: Wide) -> None:
    serving = wide.manifest.serving
    assert serving is not None
    assert serving.quantised is not None
    found = evaluate_bundle(wide.bundle, [], wide.held_out).metrics
    for evidence in serving.evidence:
        assert found[evidence.task].auc == pytest.approx(evidence.auc_quantised, abs=1e-12)
    # Few rows may be ranked alike by both graphs: the scores themselves tell which one it was.
    scores, apart = score_bundle(wide.bundle, [], wide.held_out), []
    for spec in (serving.quantised, serving.exact):
        session = ServingSession(wide.bundle.folder, spec)
        answers = requests(wide.held_out, len(wide.held_out))
        apart.append(
            max(float(np.abs(scores[r.numpy()] - session.scores(a)).max()) for r, a in answers)
        )
    assert apart[0] < apart[1]


def test_graphs_share_their_larger_tensors(wide: Wide) -> None:
    """The embedding table is stored once, whatever the number of graphs that read it."""
    serving = wide.manifest.serving
    assert serving is not None
    places = []
    for spec in (wide.manifest.backbone, serving.exact):
        graph = onnx.load(wide.bundle.folder / spec.file, load_external_data=False).graph
        places += [
            {entry.key: entry.value for entry in tensor.external_data}
            for tensor in graph.initializer
            if tensor.name.endswith("embedding.table")
        ]
    assert places[0] == places[1]
    assert places[0]["location"] == "backbone.weights"


def test_the_committed_bundle_has_tables_and_8_bits() -> None:
    serving = open_bundle(WIDE / "bundle").manifest.serving
    assert serving is not None
    assert serving.quantised is not None
    assert ITEM_ROWS in [spec.name for spec in serving.quantised.inputs]
