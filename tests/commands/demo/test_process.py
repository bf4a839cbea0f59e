"""The demo's own service: where it may listen, and what it says when it cannot start."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from commands.demo import process
from commands.demo.process import ServiceProcess, choose_ports
from commands.failures import CommandError
from tests.docs.blocks import ROOT
from tests.service.tiny import BUNDLE


def test_free_ports_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = (free_port(), free_port())
    monkeypatch.setattr(process, "PORTS", wanted)
    assert choose_ports(once=False) == wanted


def test_a_service_that_stays_says_which_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        monkeypatch.setattr(process, "PORTS", (port, free_port()))
        with pytest.raises(CommandError, match=rf"port {port} is taken.*ONCE=1"):
            choose_ports(once=False)


def test_a_story_told_once_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = (busy.getsockname()[1], free_port())
        monkeypatch.setattr(process, "PORTS", taken)
        public, admin = choose_ports(once=True)
        assert len({public, admin, taken[0]}) == 3


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    ports = (free_port(), free_port())
    service = ServiceProcess(tmp_path, tmp_path / "state", tmp_path / "log", ports)
    with pytest.raises(CommandError, match=r"did not start: error: .* no bundle"):
        service.start()


def test_stopping_what_never_started_is_nothing(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, tmp_path, tmp_path / "log", (1, 2)) as service:
        pass
    assert service.start_s == 0.0


_TELLER = """
import sys, time
from pathlib import Path
from commands.demo.process import ServiceProcess, end_in_order
bundle, folder, public, admin = sys.argv[1:]
end_in_order()
ports = (int(public), int(admin))
with ServiceProcess(Path(bundle), Path(folder), Path(folder) / "log", ports) as service:
    service.start()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_no_service_outlives_its_story(tmp_path: Path, number: signal.Signals) -> None:
    public, admin = free_port(), free_port()
    command = [sys.executable, "-c", _TELLER, str(BUNDLE), str(tmp_path), str(public), str(admin)]
    teller = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with teller:
        if teller.stdout is not None:
            assert teller.stdout.readline() == "ready\n"
        socket.create_connection(("127.0.0.1", public)).close()
        teller.send_signal(number)
        teller.wait(30)
    assert teller.returncode != 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", public)).close()
