"""One scrape for all workers: it sums, it never goes back, and it leaves no files behind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from service.metric_slots import MetricSlot
from service.metrics import Metrics


class Worker:
    """A process's figures and its slot."""

    def __init__(self, folder: Path, number: int) -> None:
        self.metrics = Metrics(worker=str(number))
        self.slot = MetricSlot(folder, number, self.metrics)

    async def value(self, name: str, **labels: str) -> float | None:
        text, _ = await self.slot.exposition(None)
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                if (sample.name, sample.labels) == (f"taskgraft_{name}", labels):
                    return float(sample.value)
        return None

    def die(self) -> None:
        """As kill -9 does: the socket stays as a file that nobody answers; the slot as it was."""
        assert self.slot._server is not None
        assert self.slot._writing is not None
        self.slot._writing.cancel()
        self.slot._server.close()


@asynccontextmanager
async def workers(folder: Path, count: int) -> AsyncIterator[list[Worker]]:
    found = [Worker(folder, number) for number in range(count)]
    for worker in found:
        await worker.slot.start()
    try:
        yield found
    finally:
        for worker in found:
            await worker.slot.stop()


async def test_whoever_is_asked_answers_for_all_and_to_the_last_request(tmp_path: Path) -> None:
    async with workers(tmp_path, 3) as found:
        for rows, worker in enumerate(found, 1):
            worker.metrics.scored([], rows, "none")
            worker.metrics.request("/v1/score")(200, 0.01, None)
        for worker in found:
            assert await worker.value("scored_rows_total") == 6
            labels = {"route": "/v1/score", "le": "0.01"}
            assert await worker.value("request_seconds_bucket", **labels) == 3
            assert await worker.value("workers") == 3


async def test_what_all_have_reached_is_the_least_of_them(tmp_path: Path) -> None:
    async with workers(tmp_path, 2) as (one, other):
        one.metrics.serve_tasks(["click", "like"], 7)
        other.metrics.serve_tasks(["click"], 6)
        assert await one.value("generation") == await other.value("generation") == 6
        assert await one.value("tasks_resident") == 1
        for worker, generation in (("0", 7), ("1", 6)):
            assert await other.value("worker_generation", worker=worker) == generation
        one.metrics.use_provider("CPU")
        other.metrics.use_provider("CPU")
        assert await one.value("provider", provider="CPU") == 1


async def test_no_count_goes_back_when_a_worker_dies_and_another_takes_its_place(
    tmp_path: Path,
) -> None:
    async with workers(tmp_path, 2) as (one, other):
        for worker in (one, other):
            worker.metrics.serve_tasks(["click"], 1)
            with worker.metrics.scoring() as counted:
                counted.tasks = ["click"]
        one.metrics.scored([], 5, "none")
        other.metrics.scored([], 3, "none")
        assert await one.value("scored_rows_total") == 8
        other.die()
        assert await one.value("scored_rows_total") == 8
        assert await one.value("task_requests_total", task="click", outcome="scored") == 2
        assert await one.value("task_request_seconds_count", task="click") == 2
        assert await one.value("workers") == 1
        assert await one.value("worker_generation", worker="1") is None
        successor = Worker(tmp_path, 1)
        await successor.slot.start()
        assert await one.value("scored_rows_total") == 8
        successor.metrics.scored([], 2, "none")
        assert await successor.value("scored_rows_total") == 10
        assert await one.value("workers") == 2
        await successor.slot.stop()
        assert set(os.listdir(tmp_path)) == {"0.json", "1.json", "0.sock"}


async def test_the_counts_of_a_removed_task_are_not_inherited(tmp_path: Path) -> None:
    async with workers(tmp_path, 1) as (one,):
        one.metrics.serve_tasks(["click", "like"], 1)
        one.metrics.scored(["click", "like"], 5, "none")
        assert await one.value("task_scored_rows_total", task="like") == 5
    async with workers(tmp_path, 1) as (successor,):
        successor.metrics.serve_tasks(["click"], 2)
        assert await successor.value("task_scored_rows_total", task="click") == 5
        assert await successor.value("task_scored_rows_total", task="like") is None


async def test_a_worker_that_hangs_delays_no_scrape_for_long(tmp_path: Path) -> None:
    async with workers(tmp_path, 2) as (one, other):
        other.metrics.scored([], 3, "none")
        assert await one.value("scored_rows_total") == 3
        other.die()
        (tmp_path / "1.sock").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(tmp_path / "1.sock"))
            deaf.listen()
            async with asyncio.timeout(20):
                assert await one.value("scored_rows_total") == 3
            assert await one.value("workers") == 1


async def test_a_scraper_gets_the_form_it_asks_for(tmp_path: Path) -> None:
    async with workers(tmp_path, 2) as (one, _):
        text, kind = await one.slot.exposition("application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert text.endswith(b"# EOF\n")


async def test_live_figures_are_those_of_all_workers_with_the_spread_of_their_scores(
    tmp_path: Path,
) -> None:
    async with workers(tmp_path, 3) as found:
        for worker in found:
            worker.metrics.serve_tasks(["click"], 1)
            worker.metrics.request("/v1/score")(200, 0.002, None)
            worker.metrics.request("/v1/tasks")(200, 0.002, None)
            worker.metrics.scored(["click"], 5, "stale")
            worker.metrics.spread.observe({("click", 0): np.full(5, 0.5, dtype=np.float32)})
        await found[0].value("workers")  # writes every slot
        found[0].die()
        live = await found[1].slot.live({"/v1/score"})
    assert (live.requests, live.tiers) == ({"2xx": 3}, {"stale": 3})
    assert sum(live.latency) == 3
    assert live.tasks["click"].rows == 15
    assert sum(live.spread["click"]["0"]) == 10  # of those that answer
    assert live.workers == 2
