"""What the supervisor does about workers that do not do as they should."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.birth import BIRTH, DRAIN, Birth, read_birth
from service.errors import ConfigError, WorkerFailed
from service.server import bind
from service.supervisor import Supervisor
from tests.live_server import settings_for_tests

# What a worker says first: it has read its birth line, and is ready.
READY = """
import os, signal, socket, sys, time
channel = socket.socket(fileno=int(sys.argv[1]))
channel.makefile("rb").readline()
channel.sendall(b'{{"failed": "", "misuse": false}}\\n')
"""


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("service.supervisor._FIRST_PAUSE_S", 0.01)
    settings = settings_for_tests(workers=2, shutdown_s=0.1)
    sockets = bind(settings)
    yield Supervisor(settings, *sockets)
    for sock in sockets:
        sock.close()
    assert list(tmp_path.glob("taskgraft-*")) == []


def program(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """What the workers of this test run instead of a service."""
    monkeypatch.setattr("service.supervisor._PROGRAM", code)


async def test_workers_that_always_die_before_they_are_ready_end_the_service(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(WorkerFailed, match=r"ended 5 times before it was ready.* exit code 3"):
        await supervisor.run()


@pytest.mark.parametrize(("misuse", "kind"), [("false", WorkerFailed), ("true", ConfigError)])
async def test_a_worker_that_tells_why_it_cannot_start_is_quoted_at_once(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, misuse: str, kind: type[Exception]
) -> None:
    told = f'{{{{"failed": "no bundle here", "misuse": {misuse}}}}}\\n'
    code = f"import socket, sys; socket.socket(fileno=int(sys.argv[1])).sendall(b'{told}')"
    program(monkeypatch, code)
    with pytest.raises(kind, match=r"^no bundle here$"):
        await supervisor.run()


async def test_a_worker_that_was_ready_once_is_replaced_as_often_as_it_dies(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(monkeypatch, READY)
    running = asyncio.create_task(supervisor.run())
    lines = ""
    async with asyncio.timeout(60):
        while lines.count("worker_ended") < 8:
            await asyncio.sleep(0.01)
            lines += capsys.readouterr().out
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_a_worker_that_heeds_no_order_is_killed_in_the_end(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.supervisor._LAST_GRACE_S", 0.1)
    program(monkeypatch, f"{READY}time.sleep(600)")
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(60):
        while len(supervisor._running) < 2:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    assert supervisor._running == {}


async def test_no_worker_serves_before_all_could_and_each_later_one_does_at_once(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a worker notes when it is admitted: which workers could serve by then."""
    monkeypatch.setattr("service.supervisor._LAST_GRACE_S", 0.1)
    could, admitted = tmp_path / "could", tmp_path / "admitted"
    for folder in (could, admitted):
        folder.mkdir()
    code = f"""{READY}
assert channel.recv(1) == b"o"
open(f"{admitted}/{{{{os.getpid()}}}}", "w").write(str(len(os.listdir("{could}"))))
time.sleep(600)
"""
    noting = f'open(f"{could}/{{{{os.getpid()}}}}", "w").close()\nchannel.sendall('
    program(monkeypatch, code.replace("channel.sendall(", noting, 1))
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(60):
        while len(notes := [*admitted.iterdir()]) < 2:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
        assert {note.read_text(encoding="utf-8") for note in notes} == {"2"}
        os.kill(int(notes[0].name), signal.SIGKILL)
        while len([*admitted.iterdir()]) < 3:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        await running


def test_an_order_that_comes_with_the_birth_is_not_lost() -> None:
    """A worker boots for a while; what it is told meanwhile must still be there."""
    settings = settings_for_tests()
    birth = Birth(1, 2, 3, "folder", early=False, settings=settings)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(BIRTH.dump_json(birth) + b"\n" + DRAIN)
        assert read_birth(theirs).slot == 3
        assert theirs.recv(64) == DRAIN
