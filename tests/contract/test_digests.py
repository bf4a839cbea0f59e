from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from contract.bundle import open_bundle
from contract.digests import Digests, take_digest
from contract.errors import CorruptBundle


@pytest.mark.parametrize("content", [b"", b"a", bytes(range(256)) * 5000])
def test_a_digest_is_sha_256_of_all_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert take_digest(path) == (hashlib.sha256(content).hexdigest(), len(content))


def test_all_files_of_a_folder_are_hashed_by_their_path_in_it(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    for name in ("a", "heads/b"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "link").symlink_to(tmp_path / "a")
    taken = Digests.begin(tmp_path).taken()
    assert taken == {name: take_digest(tmp_path / name) for name in ("a", "heads/b")}


def test_a_folder_that_is_not_there_has_none_and_whoever_opens_it_says_so(tmp_path: Path) -> None:
    digests = Digests.begin(tmp_path / "nowhere")
    assert digests.taken() == {}
    with pytest.raises(CorruptBundle):
        open_bundle(tmp_path / "nowhere", digests)
