"""Bundles whose manifest says something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from contract.manifest import MANIFEST_FILE


def rewritten(source: Path, folder: Path, **changes: object) -> Path:
    shutil.copytree(source, folder)
    values = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps(values | changes))
    return folder
