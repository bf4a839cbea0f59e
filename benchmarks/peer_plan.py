"""Which servers taskgraft is measured against, and how each is started.

    Peer --python_of--> its own environment, made from peers/requirements/NAME.txt on first use
         --PeerServer-> processes on the serving core, ended with the block or with us

A peer that cannot be installed or started is an Unavailable that says why: it is left out, by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from benchmarks.cores import Cores
from benchmarks.peer_forms import BYTES, JSON, MLSERVER, PROTOCOL, Form
from benchmarks.ports import free_port

PEERS = Path(__file__).parent / "peers"
PINNED = PEERS / "requirements"
_INSTALL_S, _PATIENCE_S, _LOOK_S, _LEAVE_S = 900.0, 120.0, 0.2, 30.0
_OK = 200
_KSERVE_QUIET = tuple(
    f"--{what}=false" for what in ("enable_grpc", "enable_latency_logging", "configure_logging")
)
_SUPERVISED = (sys.executable, "-IS", str(PEERS / "supervised.py"))


class Unavailable(Exception):
    """A peer that does not install or start here."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One server.

    Attributes:
        name: of its requirements and script as well.
        path: where it scores.
        command: arguments after its interpreter's folder; {model} and {port} are filled in.
    """

    name: str
    form: Form
    path: str
    command: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return PEERS / ".venvs" / self.name

    def arguments(self, model: Path, port: int) -> list[str]:
        command = self.command or ("python", f"{self.name}_server.py", "{model}", "{port}")
        program, *rest = (part.format(model=model, port=port) for part in command)
        return [str(self.folder / "bin" / program), *rest]


KNOWN = (
    Peer("fastapi", BYTES, "/score"),
    Peer("triton", PROTOCOL, "/v2/models/plain/infer"),
    Peer("litserve", JSON, "/score"),
    Peer(
        *("mosec", BYTES, "/inference"),
        ("python", "mosec_server.py", "--address", "127.0.0.1", "--port", "{port}"),
    ),
    Peer(
        *("bentoml", JSON, "/score"),
        ("bentoml", "serve", "bentoml_server:Plain", "--host", "127.0.0.1", "--port", "{port}"),
    ),
    Peer("ray", BYTES, "/score"),
    Peer("mlserver", MLSERVER, "/v2/models/plain/infer"),
    Peer(
        *("kserve", PROTOCOL, "/v2/models/plain/infer"),
        ("python", "kserve_server.py", "--http_port", "{port}", *_KSERVE_QUIET),
    ),
)


def installed(peer: Peer) -> None:
    """Make the peer's environment, unless it was made from the same requirements.

    Raises:
        Unavailable: its requirements do not install here.
    """
    wanted = (PINNED / f"{peer.name}.txt").read_bytes()
    made_from = peer.folder / "requirements.txt"
    if made_from.exists() and made_from.read_bytes() == wanted:
        return
    venv.create(peer.folder, with_pip=True, clear=True)
    python = str(peer.folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "-r", str(PINNED / f"{peer.name}.txt")]
    try:
        subprocess.run(pip, capture_output=True, check=True, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired as err:
        raise Unavailable(f"does not install within {_INSTALL_S:.0f} s") from err
    except subprocess.CalledProcessError as err:
        raise Unavailable(f"does not install: {_reason(err.stderr.decode())}") from err
    made_from.write_bytes(wanted)


class PeerServer:
    """A peer in processes of its own; port is where it serves."""

    def __init__(self, peer: Peer, model: Path, cores: Cores) -> None:
        self._peer, self._model, self._cores = peer, model, cores
        self.port = free_port()

    def __enter__(self) -> Self:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PLAIN_MODEL": str(self._model),
            "PYTHONPATH": str(PEERS),
            "BENTOML_DO_NOT_TRACK": "True",  # read before its service is: not for its own file
        }
        self._log = (self._model / f"{self._peer.name}.log").open("w+")
        with self._cores.serving():
            self._process = subprocess.Popen(
                [*_SUPERVISED, *self._peer.arguments(self._model, self.port)],
                cwd=PEERS,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; the pipe tells it
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # It ends the server's whole family when this pipe closes, as it does if we are killed.
        self._process.communicate(timeout=_LEAVE_S)
        self._log.close()

    def answer(self, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        """The first answer that is a 200.

        Raises:
            Unavailable: none came.
        """
        url, end = f"http://127.0.0.1:{self.port}{self._peer.path}", time.monotonic() + _PATIENCE_S
        told = {"Content-Type": "application/json"} | dict(headers)
        while time.monotonic() < end and self._process.poll() is None:
            try:
                found = httpx.post(url, content=body, headers=told, timeout=10)
            except httpx.HTTPError:
                found = None
            if found is not None and found.status_code == _OK:
                return found
            time.sleep(_LOOK_S)
        self._log.seek(0)
        raise Unavailable(f"does not answer: {_reason(self._log.read())}")


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 1]
    told = [line for line in lines if "Error" in line] or lines
    return told[-1] if told else "it says nothing"
