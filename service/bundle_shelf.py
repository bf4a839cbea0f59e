"""The bundles this host holds, by what is in them: no path and no address comes from a request.

    TASKGRAFT_BUNDLES/FINGERPRINT/, the bundle given at start --find--> BundleRef
                                                              --open--> Bundle, every byte checked
                                                          └--> BundleMissing, ContractError

The folder may be a volume that all replicas share, or be filled before the service starts or while
it runs: whatever appears in it is known from then on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from contract.bundle import Bundle, open_bundle
from contract.errors import CorruptBundle
from contract.manifest import MANIFEST_FILE, Manifest, read_manifest
from service.backbone import BundleRef
from service.errors import BundleMissing

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def reference(manifest: Manifest) -> BundleRef:
    return BundleRef(manifest.fingerprint, manifest.digest())


class BundleShelf:
    """Finds bundles. All calls block.

    Args:
        given: the bundle that the service was started with.
        folder: more of them, each in a folder named by its fingerprint; None for no others.
    """

    def __init__(self, given: Path, folder: Path | None) -> None:
        self._given = given
        self._folder = folder

    def find(self, fingerprint: str) -> Manifest:
        """The manifest of the bundle with this backbone; one in the folder goes first.

        Raises:
            BundleMissing: there is none.
            ContractError: there is one, but its manifest cannot be read.
        """
        for _, manifest in self._places(fingerprint):
            return manifest
        raise BundleMissing(
            f"no bundle with backbone {fingerprint[:12]} is on this host: put it into the folder "
            "that TASKGRAFT_BUNDLES names, as FINGERPRINT/"
        )

    def open(self, wanted: BundleRef) -> Bundle:
        """The very bundle, every byte of it checked.

        Raises:
            BundleMissing: it is not here, or only another export of the same backbone.
            ContractError: it is damaged.
        """
        self.find(wanted.fingerprint)
        for place, manifest in self._places(wanted.fingerprint):
            if reference(manifest) == wanted:
                bundle = open_bundle(place)
                if reference(bundle.manifest) == wanted:
                    return bundle
        raise BundleMissing(
            f"this host holds another export of backbone {wanted} than the one that is wanted "
            f"(manifest {wanted.manifest[:12]}): copy that one into TASKGRAFT_BUNDLES"
        )

    def _places(self, fingerprint: str) -> Iterator[tuple[Path, Manifest]]:
        if not _FINGERPRINT.fullmatch(fingerprint):
            return
        place = None if self._folder is None else self._folder / fingerprint
        # The manifest is a bundle's last file: without it a copy is still on its way.
        if place is not None and (place / MANIFEST_FILE).is_file():
            manifest = read_manifest(place)
            if manifest.fingerprint != fingerprint:
                raise CorruptBundle(
                    f"the folder {fingerprint[:12]} of TASKGRAFT_BUNDLES holds backbone "
                    f"{manifest.fingerprint[:12]}: name it by its own fingerprint"
                )
            yield place, manifest
        given = read_manifest(self._given)
        if given.fingerprint == fingerprint:
            yield self._given, given
