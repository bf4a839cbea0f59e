from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from contract.bundle import open_bundle
from contract.errors import ContractError, CorruptBundle, UnsupportedFormat
from contract.manifest import FORMAT_VERSION, MANIFEST_FILE
from export.bundle import ExportOptions, export_bundle
from export.errors import ParityError
from export.parity import Graphs, check_parity
from tests.builders import TINY
from tests.export.conftest import Exported
from tests.export.rewriting import rewritten
from training.prompt import PromptHead


def graphs_of(fresh: Exported) -> Graphs:
    return Graphs.of(open_bundle(fresh.result.folder))


def prompts_of(fresh: Exported) -> list[PromptHead]:
    model = fresh.checkpoint.model
    config = fresh.checkpoint.card.config.tune
    return [PromptHead(config, model.prompt_shape(), model.mixer.keys) for _ in range(2)]


def test_the_graphs_score_as_pytorch_does_on_every_kind_of_call(fresh: Exported) -> None:
    assert fresh.result.parity <= 1e-6
    assert check_parity(fresh.checkpoint.model, prompts_of(fresh), graphs_of(fresh), 1e-5) <= 1e-5


def test_a_model_that_is_not_the_exported_one_fails_parity(fresh: Exported) -> None:
    model = fresh.checkpoint.model
    weight = model.towers.stack.biases[-1]
    kept = weight.detach().clone()
    try:
        weight.data[0] += 0.01
        with pytest.raises(ParityError, match=r"click: .* differs from PyTorch by 0\.00") as caught:
            check_parity(model, prompts_of(fresh), graphs_of(fresh), 1e-5)
        assert 1e-3 < caught.value.difference < 1e-2
    finally:
        weight.data.copy_(kept)


def test_a_parity_failure_leaves_no_bundle_and_keeps_the_old_one(
    fresh: Exported, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "old").write_text("stays")
    with pytest.raises(ParityError):
        export_bundle(fresh.checkpoint, fresh.prepared.test, folder, ExportOptions(tolerance=1e-30))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (folder / "old").read_text() == "stays"


def test_the_graphs_hold_no_trace_of_the_exporting_machine(fresh: Exported) -> None:
    root = str(Path(__file__).parents[2])
    for path in fresh.result.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for trace in (root, os.path.expanduser("~"), "site-packages", ".py"):
                assert trace.encode() not in content, (path.name, trace)


def test_tables_lie_outside_the_graph(fresh: Exported) -> None:
    """External data is mapped, so worker processes share one copy of it."""
    model = onnx.load(str(fresh.result.folder / "backbone.onnx"), load_external_data=False)
    external = {t.name for t in model.graph.initializer if t.external_data}
    table = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    assert table.name in external


@pytest.mark.parametrize("folder", ["committed", "fresh"])
def test_a_bundle_opens_whole(fresh: Exported, folder: str) -> None:
    path = TINY / "bundle" if folder == "committed" else fresh.result.folder
    bundle = open_bundle(path)
    assert [task.name for task in bundle.manifest.tasks] == ["click", "like"]
    assert len(bundle.golden) == 9


def test_any_altered_missing_or_linked_file_is_refused(fresh: Exported, tmp_path: Path) -> None:
    names = [*fresh.result.manifest.files, MANIFEST_FILE]
    for number, name in enumerate(names):
        for damage in ("flip", "cut", "missing", "link"):
            folder = tmp_path / f"{number}-{damage}"
            shutil.copytree(fresh.result.folder, folder)
            path = folder / name
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            if damage == "flip":
                path.write_bytes(content)
            elif damage == "cut":
                path.write_bytes(content[:-1])
            else:
                path.unlink()
            if damage == "link" and name != MANIFEST_FILE:
                path.symlink_to(fresh.result.folder / name)
            with pytest.raises(ContractError):
                open_bundle(folder)
            shutil.rmtree(folder)


def test_a_newer_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match=f"bundle format {FORMAT_VERSION + 1}"):
        open_bundle(rewritten(TINY / "bundle", tmp_path / "b", format_version=FORMAT_VERSION + 1))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "heads/../../x", "a\\b", ""])
def test_a_manifest_names_files_inside_the_bundle_only(tmp_path: Path, name: str) -> None:
    files = {name: {"sha256": "0" * 64, "size_bytes": 1}}
    with pytest.raises(CorruptBundle, match="manifest"):
        open_bundle(rewritten(TINY / "bundle", tmp_path / "b", files=files))


def test_a_manifest_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptBundle, match="surprise"):
        open_bundle(rewritten(TINY / "bundle", tmp_path / "b", surprise=1))


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptBundle, match="is no bundle"):
        open_bundle(tmp_path)
