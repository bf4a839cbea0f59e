"""`taskgraft evaluate BUNDLE`: the figures of what is served, through ONNX Runtime.

bundle, prompt files, log --evaluate--> a table of metrics, and BUNDLE-SPLIT.html beside it
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from commands.configuration import load_config
from commands.failures import Misuse
from commands.report.page import beside, save
from commands.report.run_pages import evaluation_page
from commands.screen import Screen
from commands.train import SPLITS, metrics_table, tell
from contract.bundle import open_bundle
from contract.prompt import read_prompt
from export.evaluate import evaluate_bundle
from training.checkpoint import read_checkpoint
from training.config import TrainConfig
from training.dataset import prepare
from training.metrics import Resampling


def evaluate(
    screen: Screen,
    folder: Path,
    prompts: Sequence[Path],
    places: tuple[Path, str | None],
    split: str,
) -> None:
    """Measure a bundle. places: the data folder, and the configuration (the backbone's if None)."""
    if split not in SPLITS:
        raise Misuse(f"split {split!r}; expected one of {', '.join(SPLITS)}")
    data_dir, given = places
    bundle = open_bundle(folder)
    config = _beside(folder) if given is None else load_config(given)
    grafted = [read_prompt(path.read_bytes()) for path in prompts]
    prepared = prepare(config, data_dir, bundle.lookups)
    dataset = prepared.valid if split == "valid" else prepared.test
    found = evaluate_bundle(bundle, grafted, dataset, Resampling())
    title = f"{bundle.manifest.name}, as served, on the {split} rows"
    facts = {"bundle": bundle.manifest.digest(), "backbone": bundle.manifest.fingerprint}
    facts |= {f"prompt {prompt.header.task}": prompt.sha256 for prompt in grafted}
    page = evaluation_page(title, facts, split, found)
    report = save(screen, beside(folder, f"-{split}"), page)
    document = {"split": split, "bundle": folder, "metrics": found.metrics, "report": report}
    screen.show(document, metrics_table(title, found.metrics))
    tell(screen, report)


def _beside(folder: Path) -> TrainConfig:
    """The configuration of the backbone that stands beside its bundle, where train put it."""
    backbone = folder.parent / "backbone"
    if not backbone.is_dir():
        raise Misuse(
            f"a bundle holds no configuration and {backbone} is not there: "
            "give --config, which says what the labels are"
        )
    return read_checkpoint(backbone).card.config
