"""A whole service in processes of its own, as the command line starts it.

ServiceProcess(bundle, folder, workers=2) --with--> addresses, ended with the block
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.live_server import ADMIN, TOKEN

ROOT = Path(__file__).parents[1]
PROMPT = ADMIN | {"Content-Type": "application/octet-stream"}
_PATIENCE_S = 60.0


def until(condition: Callable[[], object], patience_s: float = _PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.02)


class ServiceProcess:
    """`taskgraft serve`, its log lines and its doors.

    Args:
        bundle: what it serves.
        folder: where its embedded stores are.
        variables: settings by name, like workers=2.
    """

    def __init__(self, bundle: Path, folder: Path, **variables: object) -> None:
        given: Mapping[str, object] = {
            "host": "127.0.0.1",
            "port": 0,
            "admin_port": 0,
            "admin_tokens": TOKEN.line(),
            "feature_store": f"embedded:{folder / 'features'}",
            "task_store": folder / "tasks",
            "worker_header": True,
            "drain_s": 0.5,
        } | variables
        self.workers = int(str(given.get("workers", 1)))
        self._environment = {
            **{name: value for name, value in os.environ.items() if "TASKGRAFT" not in name},
            **{f"TASKGRAFT_{name.upper()}": str(value) for name, value in given.items()},
        }
        self._command = [sys.executable, str(ROOT / "taskgraft.py"), "serve", str(bundle)]
        self.lines: list[dict[str, Any]] = []
        self.errors = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.ended()

    def start(self) -> None:
        """Returns when all workers acknowledge."""
        self.listen()
        until(lambda: len(self.told("ready")) >= self.workers)

    def listen(self) -> None:
        """Returns when it has an address."""
        self.spawn()
        until(lambda: self._listening() or self.process.poll() is not None)
        address = self._listening()
        assert address is not None, self.errors
        self.public, self.admin = address["public"], address["admin"]

    def spawn(self) -> None:
        self.lines.clear()
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read_lines), threading.Thread(target=self._read_errors)
        ]  # fmt: skip
        for reader in self._readers:
            reader.start()

    def ended(self) -> int:
        """Waits for the end; the exit code."""
        try:
            return self.process.wait(timeout=_PATIENCE_S)
        finally:
            self.process.kill()
            for reader in self._readers:
                reader.join(timeout=_PATIENCE_S)

    def told(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def score(self, client: httpx.Client | None = None) -> httpx.Response:
        request = {"user_id": "user-3", "item_ids": [100, 101, 102]}
        return (client or httpx).post(f"{self.public}/v1/score", json=request, timeout=30)

    def put(self, task: str, body: bytes, **query: str) -> httpx.Response:
        url = f"{self.admin}/v1/tasks/{task}"
        return httpx.put(url, content=body, headers=PROMPT, params=query, timeout=60)

    def remove(self, task: str) -> httpx.Response:
        return httpx.delete(f"{self.admin}/v1/tasks/{task}", headers=ADMIN, timeout=60)

    def known_workers(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.admin}/v1/workers", headers=ADMIN, timeout=30)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["workers"]
        return found

    def answers_of_each(self) -> Iterator[dict[str, Any]]:
        """A score by every worker of this service: asks on fresh connections until all answered."""
        seen: set[str] = set()
        end = time.monotonic() + _PATIENCE_S
        while len(seen) < self.workers:
            assert time.monotonic() < end, f"only {seen} answered"
            answer = self.score()
            if answer.headers["X-Worker"] not in seen:
                seen.add(answer.headers["X-Worker"])
                yield answer.raise_for_status().json()

    def pids(self) -> list[int]:
        """Of the workers that are alive, as the store knows them."""
        return [int(worker["id"].split("-")[-2]) for worker in self.known_workers()]

    def _listening(self) -> dict[str, Any] | None:
        return next(iter(self.told("listening")), None)

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
        self.process.stdout.close()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()
        self.process.stderr.close()
