"""What a worker that was forked keeps of the process that it was forked from."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import structlog

from contract.bundle import open_bundle
from service.birth import Birth
from service.settings import Settings
from service.worker import live
from tests.service.tiny import BUNDLE


@pytest.mark.parametrize("replaces", [False, True])
def test_a_worker_takes_out_the_bundle_that_was_checked(
    tmp_path: Path,
    replaces: bool,  # noqa: FBT001  # a parameter
) -> None:
    """Frames that live as long as the process would hold it after an upgrade."""
    (tmp_path / "file").touch()
    settings = Settings(bundle=BUNDLE, task_store=str(tmp_path / "file" / "tasks"))
    checked = [open_bundle(BUNDLE)]
    ours, theirs = socket.socketpair()
    birth = Birth(settings, (ours, theirs), 0, str(tmp_path), early=False, replaces=replaces)
    with ours, theirs, structlog.contextvars.bound_contextvars(), pytest.raises(SystemExit):
        live(checked, birth, theirs)
    assert not checked
