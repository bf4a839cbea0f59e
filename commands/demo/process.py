"""The demo's service: `taskgraft serve` as a process of its own, with a fresh admin token.

bundle, state folder --ServiceProcess--> public and admin address, ready
└--> CommandError: ports taken, or it ended; its log says why
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from client import Client
from client.errors import ClientError
from commands.failures import CommandError
from service.auth import new_token
from service.settings import PREFIX

HOST = "127.0.0.1"
PORTS = (8000, 8001)
_READY_S = 30.0
_STOP_S = 20.0
_POLL_S = 0.02


def choose_ports(*, once: bool) -> tuple[int, int]:
    """The two usual ports; once takes free ones where those are taken.

    Raises:
        CommandError: they are taken, and the service was to stay.
    """
    taken = [port for port in PORTS if not _free(port)]
    if not taken:
        return PORTS
    if once:
        return _any_free()
    raise CommandError(
        f"port {taken[0]} is taken on {HOST}: stop what listens there, or run `make demo ONCE=1`, "
        "which takes free ports"
    )


def end_in_order() -> None:
    """Let SIGTERM and a closed terminal unwind the stack, so that no service is left behind."""

    def unwind(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, unwind)


class ServiceProcess:
    """A service to be started; leave the block and it has stopped.

    Attributes:
        url, admin_url: where it answers.
        token: for the admin port; made here, never written down.
        start_s: from the start of the process to readiness.
    """

    def __init__(self, bundle: Path, state: Path, log: Path, ports: tuple[int, int]) -> None:
        self.url = f"http://{HOST}:{ports[0]}"
        self.admin_url = f"http://{HOST}:{ports[1]}"
        self.token, entry = new_token("demo", ("read", "graft"))
        self.start_s = 0.0
        self._log = log
        arguments = ["serve", str(bundle), "--host", HOST]
        arguments += ["--port", str(ports[0]), "--admin-port", str(ports[1])]
        self._command = [sys.executable, "-m", "taskgraft", *arguments]
        # Handed on whole, but for settings that would make it another service than the story's.
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        self._environment |= {
            f"{PREFIX}FEATURE_STORE": f"embedded:{state / 'features'}",
            f"{PREFIX}TASK_STORE": str(state / "tasks"),
            f"{PREFIX}ADMIN_TOKENS": entry.line(),
            f"{PREFIX}DRAIN_S": "0",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes traffic.

        Raises:
            CommandError: it ended, or was not ready in time.
        """
        started = time.perf_counter()
        with self._log.open("wb") as log:
            # In a session of its own, Ctrl-C reaches the demo alone, which then stops it in order.
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self.start_s = time.perf_counter() - started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def wait(self) -> None:
        """Until the service ends by itself, which it should not.

        Raises:
            CommandError: it did.
        """
        if self._process is not None:
            code = self._process.wait()
            raise CommandError(f"the service ended with code {code}; its log: {self._log}")

    def stop(self) -> None:
        """End it in order, or by force if it takes too long."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + _READY_S
        with Client(self.url, timeout_s=1.0) as client:
            while time.monotonic() < end:
                if self._process is None or self._process.poll() is not None:
                    raise CommandError(f"the service did not start: {self._last_line()}")
                if _is_ready(client):
                    return
                time.sleep(_POLL_S)
        raise CommandError(f"the service was not ready within {_READY_S:.0f} s; see {self._log}")

    def _last_line(self) -> str:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"nothing in {self._log}"


def _is_ready(client: Client) -> bool:
    try:
        return client.ready()
    except ClientError:
        return False


def _free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def _any_free() -> tuple[int, int]:
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
