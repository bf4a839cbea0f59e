"""`make bench-upgrade`: what it costs those who score when a new backbone is loaded and takes over.

    two bundles, a prompt of one task each --a service of N workers, open-loop load-->
        results/upgrade.json

First the load alone, then the same load while the backbone goes there and back again. Nothing is
kept for the way back, so that every change opens, checks, proves and warms a bundle. Every answer
is checked: a version, and with it its backbone, must always have the same scores.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson

from benchmarks.collector import uncollected
from benchmarks.graft import inconsistent, latencies
from benchmarks.graft_load import Heard, Load
from benchmarks.machine import describe_machine
from benchmarks.progress import tell_progress
from benchmarks.results import Figure, Row
from benchmarks.rounds import percentile
from benchmarks.running_service import RunningService
from benchmarks.serving_document import publish
from contract.manifest import read_manifest
from contract.prompt import read_prompt

COMMAND = "make bench-upgrade"
_ROOT = Path(__file__).parents[1]
_GOLDEN = _ROOT / "tests" / "golden"
_OK = 200
_REST_S = 0.5
log = logging.getLogger("bench-upgrade")


@dataclass(slots=True)
class Found:
    """What one run saw; change_s: of each upgrade or rollback, from the call to its answer."""

    quiet: list[Heard] = field(default_factory=list)
    changing: list[Heard] = field(default_factory=list)
    change_s: list[float] = field(default_factory=list)
    refused: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upgrade")
    tiny, other = _GOLDEN / "tiny", _GOLDEN / "tiny_retrained"
    parser.add_argument("--bundle", type=Path, default=tiny / "bundle")
    parser.add_argument("--prompt", type=Path, default=tiny / "share.safetensors")
    parser.add_argument("--other", type=Path, default=other / "bundle")
    parser.add_argument("--other-prompt", type=Path, default=other / "share.safetensors")
    parser.add_argument("--request", default='{"user_id": "user-3", "item_ids": [100, 101, 102]}')
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--changes", type=int, default=20)
    options = parser.parse_args(arguments)
    tell_progress()
    with tempfile.TemporaryDirectory() as folder:
        fingerprint = read_manifest(options.other).fingerprint
        shutil.copytree(options.other, Path(folder) / fingerprint)
        more = {"BUNDLES": folder, "ROLLBACK_READY_S": "0"}
        service = RunningService(options.bundle, options.workers, more=more)
        with service, uncollected():
            found = asyncio.run(measure(service, options))
    facts = {name: str(getattr(options, name)) for name in ("workers", "rate", "changes")}
    machine = describe_machine(("onnxruntime", "uvicorn"))
    publish("upgrade", machine, figures_of(found), facts)
    return 0


async def measure(service: RunningService, options: argparse.Namespace) -> Found:
    """Quiet, then changing, on one service."""
    prompt, other = options.prompt.read_bytes(), options.other_prompt.read_bytes()
    task = read_prompt(prompt).header.task
    body = orjson.dumps(orjson.loads(options.request) | {"tasks": [task]})
    sha256 = hashlib.sha256(other).hexdigest()
    wanted = {"fingerprint": read_prompt(other).header.backbone, "prompts": {task: sha256}}
    found, address = Found(), (service.host, service.port)
    kind = {"Content-Type": "application/octet-stream"}
    async with httpx.AsyncClient(
        base_url=service.admin, headers=service.headers, timeout=300
    ) as admin:
        for path, content in ((f"tasks/{task}", prompt), (f"prompts/{sha256}", other)):
            (await admin.put(f"/v1/{path}", content=content, headers=kind)).raise_for_status()
        load = Load([address], [body], options.rate, task, heard=found.quiet)
        async with load.running():
            await asyncio.sleep(max(10.0, options.changes))
        log.info("quiet: %d answers", len(found.quiet))
        load = Load([address], [body], options.rate, task, heard=found.changing)
        async with load.running():
            for number in range(options.changes):
                since = time.perf_counter()
                answer = await (
                    admin.post("/v1/backbone/rollback")
                    if number % 2
                    else admin.put("/v1/backbone", json=wanted)
                )
                found.change_s.append(time.perf_counter() - since)
                found.refused += answer.status_code != _OK
                await asyncio.sleep(_REST_S)
        log.info("changing: %d answers, %d changes", len(found.changing), len(found.change_s))
    return found


def figures_of(found: Found) -> list[Figure]:
    """The figures, each with what was promised of it."""
    quiet, busy = (percentile(latencies(heard), 0.99) for heard in (found.quiet, found.changing))
    failed = sum(one.status != _OK for one in found.changing) + found.refused
    rows: dict[str, Row] = {
        "failed": (failed, "requests and changes", "0", failed == 0),
        "inconsistent": (n := inconsistent(found.changing), "answers", "0", n == 0),
        "answers": (len(found.changing), "answers", "> 0", bool(found.changing)),
        "p99/quiet": (quiet * 1000, "ms", "", True),
        "p99/changing": (busy * 1000, "ms", "", True),
        "p99/ratio": (busy / quiet, "x", "", True),
        "change/p50": (statistics.median(found.change_s) * 1000, "ms", "", True),
        "change/worst": (max(found.change_s) * 1000, "ms", "", True),
    }
    return [Figure.judged(f"upgrade/{name}", COMMAND, row) for name, row in rows.items()]


if __name__ == "__main__":
    raise SystemExit(main())
