"""Two services behind a balancer, restarted one after the other while requests keep arriving."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from tests.service.tiny import BUNDLE, prompt_bytes
from tests.service_process import ServiceProcess

ROUNDS = int(os.environ.get("RESTARTS", "1"))
RATE = 40.0  # a second
WORKERS = 2


class Balancer:
    """Asks /readyz ten times a second and sends requests, in turn, to whoever says 200.

    Requests leave on time, whether or not earlier ones were answered.
    """

    def __init__(self, services: Sequence[ServiceProcess]) -> None:
        self._services = services
        self.ready = list(services)
        self.asked = 0
        self.answers: list[httpx.Response] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What was asked before the block ends is answered, or has failed, after it."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with (
            httpx.AsyncClient(timeout=30, limits=limits) as client,
            asyncio.TaskGroup() as requests,
        ):
            clocks = [
                asyncio.create_task(self._follow(client)),
                asyncio.create_task(self._arrive(client, requests)),
            ]
            yield
            for clock in clocks:
                clock.cancel()
            for end in await asyncio.gather(*clocks, return_exceptions=True):
                assert isinstance(end, asyncio.CancelledError)

    async def wants(self, client: httpx.AsyncClient, service: ServiceProcess) -> bool:
        with suppress(httpx.TransportError):
            return (await client.get(f"{service.public}/readyz")).status_code == 200
        return False

    async def _follow(self, client: httpx.AsyncClient) -> None:
        while True:
            ready = [one for one in self._services if await self.wants(client, one)]
            self.ready = ready or self.ready
            await asyncio.sleep(0.1)

    async def _arrive(self, client: httpx.AsyncClient, requests: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in itertools.count(1):
            service = self.ready[number % len(self.ready)]
            requests.create_task(self._ask(client, service.public))
            self.asked += 1
            await asyncio.sleep(start + number / RATE - loop.time())

    async def _ask(self, client: httpx.AsyncClient, address: str) -> None:
        body = {"user_id": "user-3", "item_ids": [100, 101, 102]}
        self.answers.append(await client.post(f"{address}/v1/score", json=body))


async def restart(service: ServiceProcess, balancer: Balancer) -> None:
    """Returns when the balancer has it again; from its first 200 on, all its workers are there."""
    service.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(service.ended) == 0
    await asyncio.to_thread(service.listen)
    async with asyncio.timeout(60), httpx.AsyncClient(timeout=30) as client:
        while not await balancer.wants(client, service):  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.005)
        assert len(await asyncio.to_thread(service.known_workers)) == 2 * WORKERS
        while service not in balancer.ready:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)


async def test_a_rolling_restart_loses_no_request_and_fails_none(tmp_path: Path) -> None:
    with (
        ServiceProcess(BUNDLE, tmp_path, workers=WORKERS, drain_s=0.8) as one,
        ServiceProcess(BUNDLE, tmp_path, workers=WORKERS, drain_s=0.8) as other,
    ):
        one.put("share", prompt_bytes("share")).raise_for_status()
        balancer = Balancer([one, other])
        async with balancer.running():
            for _ in range(ROUNDS):
                await restart(one, balancer)
                await restart(other, balancer)
        assert len(balancer.answers) == balancer.asked > RATE
        assert {answer.status_code for answer in balancer.answers} == {200}
        assert all("share" in answer.json()["scores"] for answer in balancer.answers)
        assert len({str(answer.json()["scores"]) for answer in balancer.answers}) == 1
