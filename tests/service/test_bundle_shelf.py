"""Bundles are found by what is in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from contract.errors import CorruptBundle
from contract.manifest import read_manifest
from service.bundle_shelf import BundleShelf, reference
from service.errors import BundleMissing
from tests.service.tiny import BUNDLE, RETRAINED

OLD, NEW = read_manifest(BUNDLE), read_manifest(RETRAINED)


def test_the_given_bundle_is_always_known(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "absent", tmp_path):
        shelf = BundleShelf(BUNDLE, folder)
        assert shelf.find(OLD.fingerprint) == OLD
        assert shelf.open(reference(OLD)).manifest == OLD


def test_what_appears_in_the_folder_is_known_from_then_on(tmp_path: Path) -> None:
    shelf = BundleShelf(BUNDLE, tmp_path)
    with pytest.raises(BundleMissing, match="TASKGRAFT_BUNDLES"):
        shelf.find(NEW.fingerprint)
    shutil.copytree(RETRAINED, tmp_path / NEW.fingerprint)
    assert shelf.open(reference(NEW)).manifest == NEW


def test_a_bundle_under_another_name_is_refused(tmp_path: Path) -> None:
    shutil.copytree(RETRAINED, tmp_path / OLD.fingerprint)
    with pytest.raises(CorruptBundle, match="name it by its own fingerprint"):
        BundleShelf(BUNDLE, tmp_path).find(OLD.fingerprint)


def test_another_export_of_the_same_backbone_is_another_bundle(tmp_path: Path) -> None:
    place = tmp_path / NEW.fingerprint
    shutil.copytree(RETRAINED, place)
    document = json.loads((place / "manifest.json").read_text("utf-8"))
    document["provenance"]["again"] = True
    (place / "manifest.json").write_text(json.dumps(document), "utf-8")
    shelf = BundleShelf(BUNDLE, tmp_path)
    assert shelf.find(NEW.fingerprint).digest() != NEW.digest()
    with pytest.raises(BundleMissing, match="another export"):
        shelf.open(reference(NEW))


@pytest.mark.parametrize("name", ["", ".", "..", "../tiny", "0" * 63, "A" * 64, "0" * 64 + "\n"])
def test_no_name_but_a_fingerprint_is_looked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleMissing):
        BundleShelf(BUNDLE, tmp_path).find(name)


def test_a_half_copied_bundle_is_not_here_yet(tmp_path: Path) -> None:
    (tmp_path / NEW.fingerprint).mkdir()
    with pytest.raises(BundleMissing):
        BundleShelf(BUNDLE, tmp_path).find(NEW.fingerprint)
