"""`taskgraft inspect`: the parts of a bundle and of a prompt, on a terminal and as a page."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from commands.bundle_view import (
    ATTENTION,
    GATE,
    BundleView,
    PromptView,
    prompt_bytes,
    view_bundle,
    view_prompt,
)
from commands.failures import Misuse
from commands.graph_costs import ROWS, measured
from commands.inspect import graph_tree
from commands.inspect_form import inspect
from commands.report.inspection_pages import bundle_page, prompt_page
from contract.prompt import PromptHeader, read_prompt, write_prompt
from tests.commands.report.reading import Reader, stands_alone

GOLDEN = Path(__file__).parents[1] / "golden"
WIDE, PROMPT = GOLDEN / "wide" / "bundle", GOLDEN / "wide" / "share.safetensors"


@pytest.fixture(scope="module")
def bundle() -> BundleView:
    return view_bundle(WIDE)


@pytest.fixture(scope="module")
def costed(bundle: BundleView) -> BundleView:
    return measured(bundle)


@pytest.fixture
def told(tmp_path: Path) -> PromptView:
    """A prompt that tells whom it hears, and something that is markup."""
    prompt = read_prompt(PROMPT.read_bytes())
    provenance = {f"{ATTENTION}click": 0.75, f"{ATTENTION}like": 0.25, f"{GATE}shared": 0.5}
    header = PromptHeader.model_validate(
        prompt.header.model_dump()
        | {"provenance": {**provenance, "label": "<script>share</script>"}}
    )
    path = tmp_path / "share.safetensors"
    path.write_bytes(
        write_prompt(header, prompt.tensors, prompt.golden_inputs, prompt.golden_scores)
    )
    return view_prompt(path)


def drawn(view: BundleView) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(graph_tree(view))
    return out.getvalue()


def test_every_graph_is_a_part_with_its_weights(bundle: BundleView) -> None:
    files = bundle.bundle.manifest.files
    graphs = {file for file in files if file.endswith(".onnx")}
    assert {part.graph.file for part in bundle.parts} == graphs
    weights = sum(entry.size_bytes for file, entry in files.items() if file.endswith(".weights"))
    alone = sum(files[graph].size_bytes for graph in graphs)
    assert sum(part.size_bytes for part in bundle.parts) == alone + weights


def test_a_bundle_of_the_first_format_has_no_serving_graph(bundle: BundleView) -> None:
    manifest = bundle.bundle.manifest.model_copy(update={"serving": None})
    old = replace(bundle, bundle=replace(bundle.bundle, manifest=manifest), serving=())
    assert "serving" not in Reader(bundle_page(old)).sections
    assert "a request" not in drawn(old)


def test_the_tree_draws_heads_below_the_backbone(bundle: BundleView) -> None:
    lines = drawn(bundle).splitlines()
    trunk, head = (next(x for x in lines if name in x) for name in ("backbone", "task click"))
    assert head.index("task") > trunk.index("backbone")
    assert any("serving.int8.onnx" in line for line in lines)


def test_each_graph_is_run_at_every_number_of_rows(costed: BundleView) -> None:
    assert {part.graph.file for part in costed.parts} == costed.seconds.keys()
    for costs in costed.seconds.values():
        assert tuple(costs) == ROWS
        assert min(costs.values()) > 0


def test_the_page_tells_sizes_costs_and_what_8_bits_cost(costed: BundleView) -> None:
    text = bundle_page(costed)
    page, manifest = Reader(text), costed.bundle.manifest
    assert manifest.serving is not None
    for evidence in manifest.serving.evidence:
        row = page.row("serving", evidence.task)
        assert row[2:4] == [f"{evidence.auc:.4f}", f"{evidence.auc_quantised:.4f}"]
    for part in costed.parts:
        row = page.row("costs", part.graph.file)
        costs = costed.seconds[part.graph.file]
        assert row[3:] == [f"{seconds * 1e6:,.0f}" for seconds in costs.values()]
    assert f"{prompt_bytes(manifest) / 1e3:.1f} kB a task" in page.sections["graphs"]
    assert manifest.fingerprint in text
    assert stands_alone(text)


def test_a_page_without_measurements_says_how_to_get_them(bundle: BundleView) -> None:
    assert any("--measure" in text for text in Reader(bundle_page(bundle)).sections["costs"])


def test_equal_bundles_give_equal_pages(bundle: BundleView) -> None:
    assert bundle_page(view_bundle(WIDE)) == bundle_page(bundle)


def test_the_page_of_a_prompt_tells_tensors_golden_rows_and_attention(told: PromptView) -> None:
    text = prompt_page(told)
    page = Reader(text)
    for name, array in told.prompt.tensors.items():
        assert page.row("tensors", name)[1] == array.dtype.name
    assert page.sections["attention"].count("0.7500") == 1
    assert told.attention == {"click": 0.75, "like": 0.25}
    assert told.prompt.sha256 in text
    assert "<script>share</script>" in page.sections["making"]
    assert stands_alone(text)


def test_the_page_of_a_prompt_does_not_hang_on_the_order_it_was_read_in(told: PromptView) -> None:
    turned = replace(told.prompt, tensors=dict(reversed(list(told.prompt.tensors.items()))))
    turned = replace(turned, golden_inputs=dict(reversed(list(turned.golden_inputs.items()))))
    assert prompt_page(replace(told, prompt=turned)) == prompt_page(told)


def test_a_prompt_of_before_does_not_tell_whom_it_hears() -> None:
    found = view_prompt(PROMPT)
    assert found.attention == {}
    assert any("does not say" in text for text in Reader(prompt_page(found)).sections["attention"])


def test_the_form_writes_the_page_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "wide.html"
    inspect(WIDE, html=page, measure=False, json=True)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["report"] == page.as_posix()
    assert "<h1>wide</h1>" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("path", "page"), [(WIDE, WIDE / "page.html"), (PROMPT, PROMPT)], ids=["bundle", "prompt"]
)
def test_a_page_never_falls_into_what_is_inspected(path: Path, page: Path) -> None:
    with pytest.raises(Misuse, match="elsewhere"):
        inspect(path, html=page, measure=False, json=True)


def test_a_prompt_has_no_graph_to_measure() -> None:
    with pytest.raises(Misuse, match="bundle"):
        inspect(PROMPT, html=None, measure=True, json=True)
