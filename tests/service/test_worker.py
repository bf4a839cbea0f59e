"""What a worker that was forked keeps of the process that it was forked from."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Never

import pytest
import structlog

from contract.bundle import open_bundle
from service.backbone import BundleRef
from service.birth import Birth
from service.errors import ServiceError
from service.proofs import Proofs, Where
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


def test_a_worker_shares_its_proofs_with_its_siblings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Where(BundleRef("a" * 64, "b" * 64), "CPUExecutionProvider")

    def opener(*given: object) -> Never:
        (proofs,) = [one for one in given if isinstance(one, Proofs)]
        proofs.add(where, "c" * 64)
        raise ServiceError("seen enough")

    monkeypatch.setattr("service.worker.open_parts", opener)
    ours, theirs = socket.socketpair()
    birth = Birth(
        Settings(bundle=BUNDLE), (ours, theirs), 0, str(tmp_path), early=False, replaces=False
    )
    with ours, theirs, structlog.contextvars.bound_contextvars(), pytest.raises(SystemExit):
        live([], birth, theirs)
    assert Proofs(tmp_path / "proofs").has(where, "c" * 64)
