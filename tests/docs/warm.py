"""`taskgraft` for the pages' shells, without loading PyTorch for each of their commands.

shell --bin/taskgraft--> socket --server, which has loaded everything--> a fork runs the verb

`serve` is started as it is. What a fork runs is the command itself, in the caller's folder, with
the caller's environment and streams.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.blocks import ROOT
from tests.service_process import until

_CLIENT = """
import json, os, socket, sys
if sys.argv[2:3] == ["serve"]:
    os.execv(sys.executable, [sys.executable, {command!r}, *sys.argv[2:]])
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect(sys.argv[1])
    asked = [sys.argv[2:], os.getcwd(), dict(os.environ)]
    socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
    code = server.recv(1)
sys.exit(code[0] if code else 1)
"""
_MOST_BYTES = 1 << 17


@contextmanager
def warm_command(folder: Path) -> Iterator[Path]:
    """A folder for the PATH, whose taskgraft is quick."""
    place, client, tool = folder / "warm", folder / "client.py", folder / "bin" / "taskgraft"
    client.write_text(_CLIENT.format(command=str(ROOT / "taskgraft.py")), encoding="utf-8")
    tool.parent.mkdir()
    line = f'exec {sys.executable} -I -S {client} {place} "$@"'
    tool.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    tool.chmod(0o755)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "tests.docs.warm", str(place)]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
        try:
            until(lambda: place.exists() or server.poll() is not None)
            assert server.poll() is None
            yield tool.parent
        finally:
            server.terminate()


def _serve(place: Path) -> None:
    for package in ("commands", "training", "export"):
        for module in pkgutil.iter_modules([str(ROOT / package)], f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with listener:
        listener.bind(str(place))
        listener.listen()
        while True:
            caller, _ = listener.accept()
            with caller:
                if os.fork() == 0:
                    listener.close()
                    _answer(caller)


def _answer(caller: socket.socket) -> None:
    """Run one command in this process, which ends with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked, streams, _, _ = socket.recv_fds(caller, _MOST_BYTES, 3)
    arguments, folder, environment = json.loads(asked)
    for at, stream in enumerate(streams):
        os.dup2(stream, at)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = 1
    try:
        code = _run(arguments)
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    caller.send(bytes([code]))
    os._exit(code)


def _run(arguments: list[str]) -> int:
    from taskgraft import main

    sys.argv = ["taskgraft", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
