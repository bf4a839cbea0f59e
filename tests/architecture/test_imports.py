"""Which package may stand on which, proved by running."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("contract", "service", "training", "export", "client", "taskgraft")
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


def test_serving_loads_no_learning_code() -> None:
    code = (
        "import service.app, service.server, sys; "
        "print(sorted({'torch', 'onnx', 'polars', 'sklearn', 'training', 'export'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout == "[]\n", run.stderr


def test_every_module_imports() -> None:
    code = "import importlib\nfor m in " + repr(MODULES) + ": importlib.import_module(m)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr


def test_the_command_starts_without_any_package_it_fronts() -> None:
    """`taskgraft serve` must work where torch is not installed."""
    code = "import taskgraft, sys; print(sorted({'torch', 'onnxruntime', 'fastapi'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout == "[]\n", run.stderr
