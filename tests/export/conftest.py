from __future__ import annotations

from dataclasses import dataclass

import pytest

from export.bundle import ExportResult
from tests.builders import exported
from training.checkpoint import Checkpoint
from training.dataset import Prepared


@dataclass(frozen=True, slots=True)
class Exported:
    """The tiny model, trained and exported once for all tests."""

    checkpoint: Checkpoint
    prepared: Prepared
    result: ExportResult


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint, prepared, result = exported(folder, folder / "bundle")
    return Exported(checkpoint, prepared, result)
