"""The bundle: a directory with graphs, lookups and golden requests, sealed by its manifest.

export: files written aside --seal_bundle--> manifest.json, then renamed into place
service: open_bundle --> Bundle | CorruptBundle | UnsupportedFormat

manifest.json     backbone.onnx (+ external data)     heads/<task>.onnx     serving*.onnx
prompt_form.onnx (prompts as they are held)           prompt_head.onnx
lookups/          golden.json (raw requests and the probabilities PyTorch gave)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.digests import Digests, take_digest
from contract.errors import CorruptBundle
from contract.lookups import Lookups
from contract.manifest import MANIFEST_FILE, FileEntry, Manifest, read_manifest

LOOKUPS_FOLDER = "lookups"
GOLDEN_FILE = "golden.json"


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """A raw request, as a client would send it, and each pre-trained task's scores from PyTorch."""

    request: dict[str, Any]
    scores: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: every file is the one the manifest names."""

    folder: Path
    manifest: Manifest
    lookups: Lookups
    golden: tuple[GoldenRequest, ...]

    def path(self, file: str) -> Path:
        return self.folder / file


def file_entry(path: Path) -> FileEntry:
    digest, size = take_digest(path)
    return FileEntry(sha256=digest, size_bytes=size)


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Every file below folder but the manifest, by its path inside it."""
    return {
        path.relative_to(folder).as_posix(): file_entry(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() != MANIFEST_FILE
    }


def seal_bundle(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, the last file of a bundle."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def open_bundle(folder: Path, digests: Digests | None = None) -> Bundle:
    """Open a bundle and check every byte of it against the manifest.

    Args:
        folder: where it is.
        digests: of this folder, if they were begun a moment ago.

    Raises:
        UnsupportedFormat: written in a newer format.
        CorruptBundle: a file is missing, altered, unnamed, or contradicts the manifest.
    """
    manifest = read_manifest(folder)
    taken = {} if digests is None else digests.taken()
    for name, expected in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise CorruptBundle(f"{name} is missing: copy or export the bundle again")
        sha256, size_bytes = taken.get(name) or take_digest(path)
        if (sha256, size_bytes) != (expected.sha256, expected.size_bytes):
            raise CorruptBundle(f"{name} is not the file that was exported: its digest differs")
    # A graph may name external data beside it: nothing may lie there that was not checked.
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    if stray := sorted(present - manifest.files.keys() - {MANIFEST_FILE}):
        raise CorruptBundle(f"{stray[0]} is not in the manifest: a bundle holds nothing else")
    named = {GOLDEN_FILE, *(graph.file for graph in manifest.graphs())}
    if missing := sorted(named - manifest.files.keys()):
        raise CorruptBundle(f"the manifest gives no digest for {', '.join(missing)}")
    lookups = Lookups.open(folder / LOOKUPS_FOLDER)
    if lookups.schema.digest() != manifest.schema_digest:
        raise CorruptBundle("the feature schema is not the one the manifest names")
    return Bundle(folder, manifest, lookups, _read_golden(folder / GOLDEN_FILE))


def _read_golden(path: Path) -> tuple[GoldenRequest, ...]:
    try:
        values = json.loads(path.read_bytes())
        return tuple(GoldenRequest(dict(v["request"]), dict(v["scores"])) for v in values)
    except (ValueError, KeyError, TypeError) as err:
        raise CorruptBundle(f"{GOLDEN_FILE} is damaged: export the bundle again") from err
