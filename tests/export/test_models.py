"""Every model: what PyTorch scores, the exported graphs score, on every kind of call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from contract.bundle import open_bundle
from export.bundle import trace, write_graphs
from export.graph import GraphFolder
from export.parity import check_parity
from tests.builders import TINY
from training.config import ModelConfig, TuneConfig
from training.dtrn_prompt import new_prompt
from training.model import build_model

SCHEMA = open_bundle(TINY / "bundle").lookups.schema
SIZES = {"embedding_dim": 4, "expert_units": (12, 8), "tower_units": (6,), "shared_experts": 2}
DTRN = {"width": 8, "heads": 2, "condition_width": 4, "hyper_width": 6}
MODELS: dict[str, dict[str, object]] = {
    "mpt": {"shared_experts": 1},
    "shared_bottom": {"mixer": "shared_bottom"},
    "omoe": {"mixer": "omoe"},
    "mmoe": {"mixer": "mmoe", "gate_units": (6,), "gate_bias": True},
    "cgc": {"mixer": "ple", "specific_experts": 2},
    "ple": {"mixer": "ple", "layers": 2},
    "stem": {"bottom": "stem", "mixer": "aftb", "gate_units": (6,), "gate_bias": True},
    "stem_ple": {"bottom": "stem", "mixer": "ple", "layers": 2},
    "aitm": {"mixer": "aitm"},
    "esmm": {"mixer": "esmm", "esmm_force": True},
    "dtrn": {"bottom": "dtrn", "mixer": "mmoe", "dtrn": DTRN},
    "dtrn_ple": {"bottom": "dtrn", "mixer": "ple", "dtrn": {**DTRN, "pooling": "mean"}},
}


PROMPTS = {
    "paper": TuneConfig(),
    "expert": TuneConfig(expert_units=(5,), tower_units=(4, 3)),
    "conditioned": TuneConfig(dtrn=True, tau=2.0),
    "own": TuneConfig(
        fusion="own",
        expert_units=(5,),
        expert_without=("user_id", "colour"),
        item_weights=("colour", "item_id"),
    ),
}
CASES = [
    *((name, "conditioned" if name == "dtrn" else "paper") for name in MODELS),
    ("ple", "expert"),
    ("stem", "own"),
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_exported_graphs_score_as_pytorch_does(name: str, kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({**SIZES, **MODELS[name]})
    model = build_model(config, SCHEMA, ("click", "like")).eval()
    _redraw(model)
    prompts = [new_prompt(PROMPTS[kind], model) for _ in range(2)]  # a copy of the keys in each
    for prompt in prompts:
        _redraw(prompt)
    graphs = write_graphs(trace(model, prompts[0]), GraphFolder(tmp_path))
    assert check_parity(model, prompts, graphs, 1e-5) <= 1e-5


@torch.no_grad()
def _redraw(module: nn.Module) -> None:
    """Some parameters start at zero, where parity proves little."""
    for parameter in module.parameters():
        parameter.normal_(0.0, 0.3)
