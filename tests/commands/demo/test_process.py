"""The demo's own service: where it may listen, and what it says when it cannot start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from commands.demo import process
from commands.demo.process import ServiceProcess, choose_ports
from commands.failures import CommandError
from tests.e2e.readme import free_port


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
