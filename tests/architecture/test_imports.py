"""Which package may stand on which, proved by running."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("contract", "service", "training", "export", "client", "commands", "taskgraft")
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in OURS[:-1]
    for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize("name", OURS)
def test_our_names_are_ours(name: str) -> None:
    """Packages of these names exist elsewhere; the ones imported must be this project's."""
    owners = importlib.metadata.packages_distributions()
    assert set(owners.get(name, ())) == {"taskgraft"}


def run_python(code: str) -> str:
    """What a fresh interpreter prints; its error output when it fails."""
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT
    )
    return run.stdout if run.returncode == 0 else run.stderr


def loaded_by(imports: str, names: set[str]) -> str:
    return run_python(f"import sys, {imports}; print(sorted({names!r} & set(sys.modules)))")


def test_serving_loads_no_learning_code() -> None:
    learning = {"torch", "onnx", "polars", "sklearn", "training", "export"}
    assert loaded_by("service.app, service.server", learning) == "[]\n"


def test_tracing_loads_opentelemetry_only_when_opened() -> None:
    assert loaded_by("service.tracing", {"opentelemetry"}) == "[]\n"


def test_every_module_imports() -> None:
    assert run_python(f"import importlib\nfor m in {MODULES!r}: importlib.import_module(m)") == ""


def test_the_command_starts_without_any_package_it_fronts() -> None:
    """`taskgraft serve` must work where torch is not installed."""
    assert loaded_by("taskgraft", {"torch", "onnxruntime", "fastapi"}) == "[]\n"
