"""`make bench-faults`: what scoring answers while its Redis is in trouble.

    bundle, Redis behind a proxy --a service, open-loop load--> results/redis_faults.json

Each trouble lasts a while under a steady load of one user that was scored before and one that never
was, with readiness asked beside it; then the time until a score has its history again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from benchmarks.collector import uncollected
from benchmarks.faulty_proxy import DELAY_S, FaultyProxy
from benchmarks.machine import describe_machine
from benchmarks.open_loop import Caller, Outcome, get, post
from benchmarks.progress import tell_progress
from benchmarks.results import Figure, Row
from benchmarks.rounds import percentile
from benchmarks.running_service import RunningService
from benchmarks.serving_document import publish
from tests.redis_server import RedisServer

COMMAND = "make bench-faults"
TROUBLES = ("none", "stopped", "hung", "slow", "garbage", "full")
_BUNDLE = Path(__file__).parents[1] / "tests" / "golden" / "tiny" / "bundle"
_USER, _ITEMS, _BEHAVIOUR = "user-3", [100, 101, 102], "clicked"
_PROBES_PER_S = 10.0
_OK = 200
_TIER = re.compile(r'^taskgraft_degraded_total\{tier="(\w+)"\} (\S+)$', re.MULTILINE)
log = logging.getLogger("bench-faults")


@dataclass(frozen=True, slots=True)
class Found:
    """What one trouble did.

    Attributes:
        scores: of both users.
        readiness: of the checks beside them.
        steps: how many answers took which step of the ladder.
        back_s: from the end of the trouble to a score with its history; 0 without trouble.
    """

    scores: list[Outcome]
    readiness: list[Outcome]
    steps: Counter[str]
    back_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis_faults")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=100.0, help="scores a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each trouble")
    parser.add_argument("--deadline-ms", type=int, default=500)
    options = parser.parse_args(arguments)
    tell_progress()
    with tempfile.TemporaryDirectory() as folder, uncollected():
        found = asyncio.run(measure(Path(folder), options))
    told = {name: str(getattr(options, name)) for name in ("workers", "rate", "seconds")}
    notes = told | {"deadline_ms": str(options.deadline_ms), "slow": f"by {DELAY_S:g} s"}
    figures = figures_of(found, options.deadline_ms)
    publish("redis_faults", describe_machine(("redis", "hiredis")), figures, notes)
    return 0


async def measure(folder: Path, options: argparse.Namespace) -> dict[str, Found]:
    """Every trouble once, in one life of the service."""
    server = RedisServer(folder)
    server.start()
    proxy = FaultyProxy(server.port)
    await proxy.open()
    service = RunningService(_BUNDLE, options.workers, "", f"redis://127.0.0.1:{proxy.port}/0")
    try:
        await asyncio.to_thread(service.__enter__)
        try:
            return {
                name: await _meet(name, Trouble(server, proxy), service, options)
                for name in TROUBLES
            }
        finally:
            await asyncio.to_thread(service.__exit__, None, None, None)
    finally:
        await proxy.close()
        server.stop()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Makes trouble by its name, and ends it."""

    server: RedisServer
    proxy: FaultyProxy

    async def begin(self, name: str) -> None:
        match name:
            case "stopped":
                await self.proxy.close()
            case "hung":
                self.server.pause()
            case "slow" | "garbage":
                self.proxy.fault = name
            case "full":
                await asyncio.to_thread(self._limit, "1")

    async def end(self, name: str) -> None:
        match name:
            case "stopped":
                await self.proxy.open()
            case "hung":
                self.server.resume()
            case "slow" | "garbage":
                self.proxy.fault = ""
            case "full":
                await asyncio.to_thread(self._limit, "0")

    def _limit(self, memory: str) -> None:
        with self.server.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", memory)


async def _meet(
    name: str, trouble: Trouble, service: RunningService, options: argparse.Namespace
) -> Found:
    address = service.host, service.port
    body = {"item_ids": _ITEMS, "deadline_ms": options.deadline_ms}

    def caller(user: str) -> Caller:
        return Caller(address, post("/v1/score", json.dumps(body | {"user_id": user}).encode()))

    public = f"http://{service.host}:{service.port}"
    async with httpx.AsyncClient(base_url=public, timeout=30) as client:
        event = {"user_id": _USER, "item_id": 100, "behaviour": _BEHAVIOUR, "ts": 1}
        (await client.post("/v1/events", json={"events": [event]})).raise_for_status()
        known, stranger = caller(_USER), caller(f"stranger-{name}")
        ready = Caller(address, get("/readyz"))
        await known.flow(options.rate, 1.0)
        before = await _steps(client)
        await trouble.begin(name)
        half = options.rate / 2
        *scored, readiness = await asyncio.gather(
            known.flow(half, options.seconds),
            stranger.flow(half, options.seconds),
            ready.flow(_PROBES_PER_S, options.seconds),
        )
        steps = await _steps(client) - before
        await trouble.end(name)
        ended = time.perf_counter()
        back = partial(client.post, "/v1/score", json=body | {"user_id": _USER})
        while (await back()).json().get("degraded") != "none":  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
        back_s = time.perf_counter() - ended
    for one in (known, stranger, ready):
        one.close()
    found = Found([o for part in scored for o in part], readiness, steps, back_s)
    statuses = dict(Counter(outcome.status for outcome in found.scores))
    p99_ms = _p99_ms(found.scores)
    log.info("%s: %s, p99 %.1f ms, %s, %.2f s", name, statuses, p99_ms, dict(steps), back_s)
    return found


async def _steps(client: httpx.AsyncClient) -> Counter[str]:
    """Answers so far by the step of the ladder, of all workers."""
    text = (await client.get("/metrics")).raise_for_status().text
    return Counter({tier: int(float(count)) for tier, count in _TIER.findall(text)})


def figures_of(found: dict[str, Found], deadline_ms: int) -> list[Figure]:
    """The figures of each trouble, with what was promised of it."""
    rows: dict[str, Row] = {}
    for name, one in found.items():
        answered, ready = 100 * _share(one.scores), 100 * _share(one.readiness)
        p99_ms = _p99_ms(one.scores)
        rows |= {
            f"{name}/availability": (answered, "%", "100", answered == 100),  # noqa: PLR2004
            f"{name}/p99": (p99_ms, "ms", f"<= {deadline_ms}", p99_ms <= deadline_ms),
            f"{name}/ready": (ready, "% of checks", "100", ready == 100),  # noqa: PLR2004
            f"{name}/ready_p99": (_p99_ms(one.readiness), "ms", "", True),
            **{
                f"{name}/{s}": (count, "answers", "", True)
                for s, count in sorted(one.steps.items())
            },
            f"{name}/back": (one.back_s, "s until a history is read again", "", True),
        }
    return [Figure.judged(f"redis/{name}", COMMAND, row) for name, row in rows.items()]


def _share(outcomes: Sequence[Outcome]) -> float:
    return sum(outcome.status == _OK for outcome in outcomes) / len(outcomes)


def _p99_ms(outcomes: Sequence[Outcome]) -> float:
    return percentile([outcome.latency_s for outcome in outcomes], 0.99) * 1000


if __name__ == "__main__":
    raise SystemExit(main())
