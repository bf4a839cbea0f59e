"""`taskgraft serve` in processes of its own, for a measurement.

bundle --RunningService--> addresses, a token, the workers' memory; ended with the block, and with
                           the measurement, however that ends
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from service.auth import new_token
from service.settings import PREFIX

_SERVE = (str(Path(__file__).parents[1] / "taskgraft.py"), "serve")
_TIED = (sys.executable, "-IS", str(Path(__file__).with_name("tied.py")))
_PATIENCE_S = 120.0
_LOOK_S = 0.02
_STAGE = re.compile(
    r"^taskgraft_stage_seconds_(?P<kind>sum|count)\{[^}]*"
    r'stage="(?P<stage>\w+)"[^}]*\} (?P<value>\S+)',
    re.MULTILINE,
)


class RunningService:
    """A service on free ports of 127.0.0.1; started_s is how long it took until all were ready.

    Args:
        bundle: what it serves.
        workers: how many processes.
        task_store: a directory of its own if empty.
        feature_store: likewise.
        more: settings by name, in capitals.
    """

    def __init__(
        self,
        bundle: Path,
        workers: int,
        task_store: str = "",
        feature_store: str = "",
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.workers = workers
        self._bundle = bundle
        self._task_store = task_store
        self._feature_store = feature_store
        self._more = dict(more or {})
        secret, self._token = new_token("bench", ["read", "graft"])
        self.headers = {"Authorization": f"Bearer {secret}"}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        given = {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "ADMIN_PORT": "0",
            "WORKERS": str(self.workers),
            "ADMIN_TOKENS": self._token.line(),
            "TASK_STORE": self._task_store or str(folder / "tasks"),
            "FEATURE_STORE": self._feature_store or f"embedded:{folder / 'features'}",
            "DRAIN_S": "0",
        } | self._more
        self._log = (folder / "log").open("wb")
        since = time.monotonic()
        self._process = subprocess.Popen(
            [*_TIED, str(os.getpid()), sys.executable, *_SERVE, str(self._bundle)],
            # What the caller's shell sets for a service of its own must not move a figure.
            env={name: v for name, v in os.environ.items() if not name.startswith(PREFIX)}
            | {f"{PREFIX}{name}": value for name, value in given.items()},
            stdout=self._log,
        )
        try:
            self._wait(folder / "log")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.started_s = time.monotonic() - since
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=_PATIENCE_S)
        self._log.close()
        self._folder.cleanup()

    def pss_kib(self) -> float:
        """Memory of all workers; what they share counts once."""
        return sum(_pss_kib(pid) for pid in self._pids())

    def cpu_s(self) -> float:
        """Processor time that all workers have had."""
        return sum(_cpu_s(pid) for pid in self._pids())

    def stages(self) -> dict[str, tuple[float, float]]:
        """Seconds and number of each stage of scoring, from the beginning; of one worker alone."""
        text = httpx.get(f"http://{self.host}:{self.port}/metrics", timeout=30).text
        found = {(m["kind"], m["stage"]): float(m["value"]) for m in _STAGE.finditer(text)}
        return {
            stage: (seconds, found["count", stage])
            for (kind, stage), seconds in found.items()
            if kind == "sum"
        }

    def _wait(self, log: Path) -> None:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end and self._process.poll() is None:
            time.sleep(_LOOK_S)
            lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            if sum(line["event"] == "ready" for line in lines) >= self.workers:
                first = next(line for line in lines if line["event"] == "listening")
                self.admin: str = first["admin"]
                self.host, port = first["public"].removeprefix("http://").split(":")
                self.port = int(port)
                return
        raise RuntimeError("the service did not start; its own lines above say why")

    def _pids(self) -> list[int]:
        answer = httpx.get(f"{self.admin}/v1/workers", headers=self.headers, timeout=30)
        workers: list[dict[str, Any]] = answer.raise_for_status().json()["workers"]
        return [int(worker["id"].split("-")[-2]) for worker in workers]


def _cpu_s(pid: int) -> float:
    # After the name in brackets, which may hold anything: user and system time are fields 14, 15.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss_kib(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    found = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) if found else 0
