"""`make bench-graft`: what grafting costs those who score, and how soon all workers serve it.

    bundle, two prompts --a service of N workers, open-loop load--> results/graft.json

First the load alone, then the same load while versions come and go, then 1,000 tasks. Every answer
is checked: a version must always have the same scores.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from benchmarks.graft_load import Heard, Load
from benchmarks.machine import describe_machine
from benchmarks.results import Figure, Row, write_results
from benchmarks.rounds import percentile
from benchmarks.running_service import RunningService
from contract.prompt import read_prompt, write_prompt

COMMAND = "make bench-graft"
_ROOT = Path(__file__).parents[1]
_TINY = _ROOT / "tests" / "golden" / "tiny"
_WARM_UP = 20
_OK = 200
log = logging.getLogger("bench-graft")


@dataclass(slots=True)
class Found:
    """What one run saw."""

    quiet: list[Heard] = field(default_factory=list)
    swapping: list[Heard] = field(default_factory=list)
    swap_s: list[float] = field(default_factory=list)
    refused_swaps: int = 0
    pss_kib: list[float] = field(default_factory=list)  # of all workers: before, after
    task_bytes: float = 0.0  # per task and worker, tensors left out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graft")
    parser.add_argument("--bundle", type=Path, default=_TINY / "bundle")
    parser.add_argument("--prompt", type=Path, default=_TINY / "share.safetensors")
    parser.add_argument("--request", default='{"user_id": "user-3", "item_ids": [100, 101, 102]}')
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--swaps", type=int, default=10_000)
    parser.add_argument("--swap-rate", type=float, default=10.0, help="at most so many a second")
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--task-store", default="", help="a directory of its own by default")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with RunningService(options.bundle, options.workers, options.task_store) as service:
        found = asyncio.run(measure(service, options))
    told = ("workers", "rate", "swaps", "swap_rate", "tasks")
    facts = {name: str(getattr(options, name)) for name in told}
    machine = describe_machine(("onnxruntime", "uvicorn"))
    path = write_results("graft", machine, figures_of(found), facts)
    log.info("written: %s", path.relative_to(_ROOT))
    return 0


async def measure(service: RunningService, options: argparse.Namespace) -> Found:
    """All runs, one after the other, on one service."""
    prompt = options.prompt.read_bytes()
    task = read_prompt(prompt).header.task
    body = orjson.dumps(orjson.loads(options.request) | {"tasks": [task]})
    found = Found()
    async with httpx.AsyncClient(base_url=service.admin, headers=service.headers) as admin:
        change = _changes(admin, task, [prompt, _sibling(prompt)])
        for number in range(_WARM_UP):
            (await change(number)).raise_for_status()
        found.pss_kib.append(service.pss_kib())
        load = Load(service.host, service.port, body, options.rate, task, heard=found.quiet)
        async with load.running():
            await asyncio.sleep(max(10.0, options.swaps / 200))
        log.info("quiet: %d answers", len(found.quiet))
        load = Load(service.host, service.port, body, options.rate, task, heard=found.swapping)
        async with load.running():
            for number in range(options.swaps):
                since = time.perf_counter()
                answer = await change(number)
                found.swap_s.append(time.perf_counter() - since)
                found.refused_swaps += answer.status_code != _OK
                await asyncio.sleep(since + 1 / options.swap_rate - time.perf_counter())
        log.info("swapping: %d answers, %d swaps", len(found.swapping), len(found.swap_s))
        found.pss_kib.append(service.pss_kib())
        found.task_bytes = await _fill(admin, service, prompt, options.tasks)
    return found


def figures_of(found: Found) -> list[Figure]:
    """The figures, each with what was promised of it."""
    quiet, busy = (latencies(heard) for heard in (found.quiet, found.swapping))
    ratio = p99(busy) / p99(quiet)
    swaps_ms = [seconds * 1000 for seconds in found.swap_s]
    growth = found.pss_kib[-1] / found.pss_kib[0] - 1
    failed = sum(one.status != _OK for one in found.swapping) + found.refused_swaps
    rows: dict[str, Row] = {
        "failed": (failed, "requests and swaps", "0", failed == 0),
        "inconsistent": (n := inconsistent(found.swapping), "answers", "0", n == 0),
        "answers": (len(found.swapping), "answers", "> 0", bool(found.swapping)),
        "p99/quiet": (p99(quiet) * 1000, "ms", "", True),
        "p99/swapping": (p99(busy) * 1000, "ms", "", True),
        "p99/ratio": (ratio, "x", "<= 1.05", ratio <= 1.05),  # noqa: PLR2004
        "visible/p50": (statistics.median(swaps_ms), "ms", "", True),
        "visible/p99": (v := p99(swaps_ms), "ms", "<= 100", v <= 100),  # noqa: PLR2004
        "memory/growth": (growth, "of all workers", "<= 0.05", growth <= 0.05),  # noqa: PLR2004
        "memory/task": (b := found.task_bytes, "bytes a task", "<= 20000", b <= 20_000),  # noqa: PLR2004
    }
    return [Figure.judged(f"graft/{name}", COMMAND, row) for name, row in rows.items()]


def _changes(admin: httpx.AsyncClient, task: str, bodies: list[bytes]) -> Callable[[int], Any]:
    """Graft the one, graft the other, roll back, and again."""

    async def change(number: int) -> httpx.Response:
        if number % 3 == 2:  # noqa: PLR2004
            return await admin.post(f"/v1/tasks/{task}/rollback", timeout=60)
        headers = {"Content-Type": "application/octet-stream"}
        content = bodies[number % 3]
        answer = await admin.put(f"/v1/tasks/{task}", content=content, headers=headers, timeout=60)
        if answer.status_code == 201:  # noqa: PLR2004
            answer.status_code = _OK
        return answer

    return change


async def _fill(
    admin: httpx.AsyncClient, service: RunningService, prompt: bytes, tasks: int
) -> float:
    """Graft so many tasks; bytes that one takes in each worker beyond its own tensors."""
    sound = read_prompt(prompt)
    tensors = sum(tensor.nbytes for tensor in sound.tensors.values())
    before = service.pss_kib()
    for number in range(tasks):
        header = sound.header.model_copy(update={"task": f"bench-{number}"})
        body = write_prompt(header, sound.tensors, sound.golden_inputs, sound.golden_scores)
        headers = {"Content-Type": "application/octet-stream"}
        answer = await admin.put(
            f"/v1/tasks/bench-{number}", content=body, headers=headers, timeout=60
        )
        answer.raise_for_status()
    grown = (service.pss_kib() - before) * 1024 / service.workers
    return grown / tasks - tensors


def _sibling(prompt: bytes) -> bytes:
    """The same task with other scores: every logit one higher, golden rows included."""
    sound = read_prompt(prompt)
    name = max(name for name in sound.tensors if name.startswith("tower.b"))
    tensors = {**sound.tensors, name: sound.tensors[name] + 1}
    scores = sound.golden_scores
    shifted = scores * math.e / (1 + scores * (math.e - 1))
    return write_prompt(
        sound.header, tensors, sound.golden_inputs, shifted.astype(scores.dtype, copy=False)
    )


def inconsistent(heard: Sequence[Heard]) -> int:
    """Answers whose scores are not those of the version they name."""
    known: dict[int | None, tuple[float, ...]] = {}
    answered = [one for one in heard if one.status == _OK]
    return sum(known.setdefault(one.version, one.scores) != one.scores for one in answered)


def latencies(heard: Sequence[Heard]) -> list[float]:
    return [one.latency_s for one in heard]


def p99(values: Sequence[float]) -> float:
    return percentile(values, 0.99)


if __name__ == "__main__":
    raise SystemExit(main())
