"""Directories that are whole or absent: written aside, then renamed into place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(directory: Path) -> Iterator[Path]:
    """A folder beside the directory that takes its place when all went well.

    On an error the folder is removed and the directory is as it was.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        yield folder
        _make_readable(folder)
        if directory.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{directory.name}-old-", dir=directory.parent))
            try:
                directory.rename(old / directory.name)
                try:
                    folder.rename(directory)
                except BaseException:
                    (old / directory.name).rename(directory)
                    raise
            finally:
                if directory.exists():  # else the old one is all there is
                    shutil.rmtree(old, ignore_errors=True)
        else:
            folder.rename(directory)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _make_readable(folder: Path) -> None:
    """As if made by hand: what wrote the files may have kept them to its own user."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
