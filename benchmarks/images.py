"""How large the images are, and how long a container takes until it is ready.

docker/*.Dockerfile --build--> size, cold starts with the tests' bundle --> results/images.json

A cold start is from `docker run` to the first 200 of /readyz. `make bench-images` finds an engine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from pathlib import Path

import httpx

from benchmarks.machine import describe_machine
from benchmarks.results import Figure
from benchmarks.serving_document import publish

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "golden" / "tiny"
COMMAND = "make bench-images"
STARTS = 7
MOST_MB, MOST_START_S = 350, 3
_PATIENCE_S = 60.0
_PORT = 18980
_RUN = (
    "run", "--detach", "--rm", "--read-only", "--tmpfs", "/tmp",
    "--tmpfs", "/state:uid=10001", "--cap-drop", "ALL",
    "-v", f"{TINY}/bundle:/bundle:ro", "-p", f"127.0.0.1:{_PORT}:8000",
)  # fmt: skip


def docker(*words: str) -> str:
    """What the command printed."""
    run = subprocess.run(["docker", *words], check=True, capture_output=True, text=True, cwd=ROOT)
    return run.stdout.strip()


def size_mb(name: str) -> float:
    """Builds docker/NAME.Dockerfile."""
    tag = f"taskgraft/{name}:bench"
    docker("build", "--quiet", "-f", f"docker/{name}.Dockerfile", "-t", tag, ".")
    return int(docker("image", "inspect", tag, "--format", "{{.Size}}")) / 1e6


def start_s(workers: int) -> float:
    """One container of the service, from `docker run` until it is ready."""
    since = time.perf_counter()
    given = ("-e", f"TASKGRAFT_WORKERS={workers}", "taskgraft/service:bench")
    container = docker(*_RUN, *given)
    try:
        while not _ready():
            if time.perf_counter() - since > _PATIENCE_S:
                raise RuntimeError(f"the service did not start:\n{docker('logs', container)}")
            time.sleep(0.01)
        return time.perf_counter() - since
    finally:
        docker("kill", container)


def _ready() -> bool:
    try:
        return (
            httpx.get(f"http://127.0.0.1:{_PORT}/readyz", timeout=1).status_code == httpx.codes.OK
        )
    except httpx.TransportError:
        return False


def main() -> None:
    """Measure, and write results/images.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images", description=__doc__)
    parser.add_argument("--training", action="store_true", help="build the training image too")
    given = parser.parse_args()
    service = size_mb("service")
    figures = [
        Figure(
            name="images/service/size", value=round(service), unit="MB",
            goal=f"<= {MOST_MB}", holds=service <= MOST_MB, command=COMMAND,
        )
    ]  # fmt: skip
    if given.training:
        figures.append(
            Figure(
                name="images/training/size", value=round(size_mb("training")), unit="MB",
                command=f"{COMMAND} ARGS=--training",
            )
        )  # fmt: skip
    for workers in (1, 4):
        times = sorted(start_s(workers) for _ in range(STARTS))
        middle = statistics.median(times)
        figures.append(
            Figure(
                name=f"images/service/cold start/{workers} workers",
                value=round(middle, 2), unit="s",
                spread=(round(times[0], 2), round(times[-1], 2)), goal=f"<= {MOST_START_S}",
                holds=middle <= MOST_START_S, command=COMMAND,
            )
        )  # fmt: skip
    publish("images", describe_machine(), figures, {"starts": str(STARTS)})


if __name__ == "__main__":
    main()
