"""docker/compose.yaml, built and running on free ports with the tests' tiny bundle.

Stack --with--> addresses; compose(...) acts on it; containers and volumes end with the block
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from benchmarks.ports import free_port
from tests.live_server import ADMIN, TOKEN
from tests.service.tiny import prompt_bytes
from tests.service_process import ROOT, until

SERVICE, TINY = "taskgraft/service:dev", ROOT / "tests" / "golden" / "tiny"
REQUEST = {"user_id": "user-3", "item_ids": [100, 101, 102]}
# Grafana is an image of its own maker's; what it is given is tested in tests/monitoring.
_STARTED = ("taskgraft", "redis", "prometheus")
_OCTETS = {"Content-Type": "application/octet-stream"}


def docker(*words: str, timeout_s: float = 900) -> str:
    """What the command printed; what it said on stderr is raised with a failure."""
    run = subprocess.run(
        ["docker", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=ROOT,
    )
    assert run.returncode == 0, f"docker {' '.join(words)}\n{run.stdout}\n{run.stderr}"
    return run.stdout.strip()


def build(name: str, tag: str) -> None:
    """One of docker/*.Dockerfile."""
    docker("build", "--quiet", "-f", f"docker/{name}.Dockerfile", "-t", tag, ".")


class Stack:
    """Service, Redis and Prometheus of the compose file.

    Args:
        workers: of the service.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        ports = {name: free_port() for name in ("PORT", "ADMIN_PORT", "PROMETHEUS_PORT")}
        self._folder = Path(tempfile.mkdtemp())
        self._environment = os.environ | {
            **{name: str(port) for name, port in ports.items()},
            "WORKERS": str(workers),
            "MODELS": str(self._folder / "models"),
            "BUNDLE": "bundle",
            "TASKGRAFT_ADMIN_TOKENS": TOKEN.line(),
        }
        self.public = f"http://127.0.0.1:{ports['PORT']}"
        self.admin = f"http://127.0.0.1:{ports['ADMIN_PORT']}"
        self.prometheus = f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}"

    def __enter__(self) -> Self:
        shutil.copytree(TINY, self._folder / "models")
        self._folder.chmod(0o755)
        build("service", SERVICE)
        try:
            self.compose("up", "--detach", "--wait", *_STARTED)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.compose("down", "--volumes", "--timeout", "0")
        shutil.rmtree(self._folder)

    def compose(self, *words: str) -> str:
        command = ["docker", "compose", "-p", "taskgraft-test", "-f", "docker/compose.yaml", *words]
        run = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env=self._environment,
            cwd=ROOT,
            timeout=600,
        )
        assert run.returncode == 0, f"{' '.join(command)}\n{run.stdout}\n{run.stderr}"
        return run.stdout.strip()

    def score(self) -> dict[str, Any]:
        answer = httpx.post(f"{self.public}/v1/score", json=REQUEST, timeout=30)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def put(self, task: str) -> httpx.Response:
        url, body = f"{self.admin}/v1/tasks/{task}", prompt_bytes(task)
        return httpx.put(url, content=body, headers=ADMIN | _OCTETS, timeout=60)

    def known_workers(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.admin}/v1/workers", headers=ADMIN, timeout=30)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["workers"]
        return found

    def whole(self) -> bool:
        """As many workers as wanted, all in one state."""
        known = self.known_workers()
        states = {(worker["state"], worker["generation"]) for worker in known}
        return len(known) == self.workers and len(states) == 1

    def answering(self) -> Iterator[str]:
        """The workers that answer, each once, on connections of their own."""
        seen: set[str] = set()

        def another() -> bool:
            answer = httpx.post(f"{self.public}/v1/score", json=REQUEST, timeout=30)
            seen.add(answer.headers["X-Worker"])
            return len(seen) == self.workers

        until(another)
        yield from seen

    def query(self, expression: str) -> dict[str, float]:
        """An instant query: instance -> value."""
        url = f"{self.prometheus}/api/v1/query"
        answer = httpx.get(url, params={"query": expression}, timeout=30).raise_for_status()
        series = answer.json()["data"]["result"]
        return {one["metric"].get("instance", ""): float(one["value"][1]) for one in series}
