"""One scrape answers for all workers of a service, also for those that died.

    /metrics in one worker --nudge--> each sibling writes its slot --merge--> one exposition
    /v1/live                   └----> and answers how its scores are spread --> LiveFigures

Each worker has a slot, a file of its samples, which it writes before anybody tells them. A worker
that takes a dead one's place goes on from the counts in the slot, so no counter ever goes back, and
there are never more files than slots. A kill loses what was counted since the slot was last
written: at most WRITE_EVERY_S. Gauges count for workers that answer alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.drift_figures import DRIFT_METRICS
from service.live_figures import LiveFigures, read_figures
from service.metrics import Metrics
from service.score_spread import Spread, add_spreads

WRITE_EVERY_S = 5.0
_NUDGE_S = 1.0  # a worker short of a core is alive, and its gauges count
_LEAST = {"taskgraft_generation", "taskgraft_tasks_resident"}  # what all workers have reached
_MOST = {"taskgraft_provider", *DRIFT_METRICS}  # every worker tells the drift of all
_Labels = tuple[tuple[str, str], ...]


class _Family:
    """One metric's samples, summed over workers."""

    __slots__ = ("kind", "name", "samples", "text")

    def __init__(self, name: str, text: str, kind: str) -> None:
        self.name, self.text, self.kind = name, text, kind
        self.samples: dict[tuple[str, _Labels], float] = {}

    def add(self, sample: str, labels: _Labels, value: float) -> None:
        key = sample, labels
        before = self.samples.get(key)
        if before is None:
            self.samples[key] = value
        elif self.name in _LEAST or sample.endswith("_created"):
            self.samples[key] = min(before, value)
        elif self.name in _MOST:
            self.samples[key] = max(before, value)
        else:
            self.samples[key] = before + value


class _Merged(Collector):
    """What a CollectorRegistry can expose."""

    def __init__(self) -> None:
        self.families: dict[str, _Family] = {}

    def add(self, metrics: Iterable[Metric], *, gauges: bool = True) -> None:
        for metric in metrics:
            if metric.type == "gauge" and not gauges:
                continue
            family = self.families.setdefault(
                metric.name, _Family(metric.name, metric.documentation, metric.type)
            )
            for sample in metric.samples:
                labels = tuple(sorted(sample.labels.items()))
                family.add(sample.name, labels, sample.value)

    def collect(self) -> Iterator[Metric]:
        for family in self.families.values():
            metric = Metric(family.name, family.text, family.kind)
            for (name, labels), value in family.samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric


class MetricSlot:
    """One worker's slot, and the way to all others. Event loop only.

    Args:
        folder: of all slots of this service.
        number: of the slot; a worker's successor has the same.
        metrics: this worker's figures.
    """

    def __init__(self, folder: Path, number: int, metrics: Metrics) -> None:
        self._folder = folder
        self._file = folder / f"{number}.json"
        self._socket = folder / f"{number}.sock"
        self._metrics = metrics
        self._before: list[Metric] = []
        self._server: asyncio.Server | None = None
        self._writing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over what the slot's last worker counted; answer siblings from now on."""
        self._before = [metric for metric in _read(self._file) if metric.type != "gauge"]
        self._write()
        self._socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._nudged, self._socket)
        self._writing = asyncio.create_task(self._write_often(), name="metric slot")

    async def stop(self) -> None:
        if self._server is None or self._writing is None:
            return
        self._writing.cancel()
        self._server.close()
        self._socket.unlink(missing_ok=True)
        with suppress(OSError):
            self._write()

    async def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """The text a scraper reads, for all workers, and its content type."""
        merged, _ = await self._gather()
        registry = CollectorRegistry()
        registry.register(merged)
        encode, content_type = choose_encoder(accept or "")
        return encode(registry), content_type

    async def live(self, routes: Collection[str]) -> LiveFigures:
        """As read_figures, for all workers."""
        merged, spreads = await self._gather()
        return read_figures(merged.collect(), add_spreads(spreads), routes)

    async def _gather(self) -> tuple[_Merged, list[Spread]]:
        """All workers' samples, and how the scores of those that answer are spread."""
        merged, spreads = _Merged(), [self._metrics.spread.told()]
        merged.add(self._write())
        slots = [path for path in self._folder.glob("*.json") if path != self._file]
        answers = await asyncio.gather(*(_nudge(path.with_suffix(".sock")) for path in slots))
        for path, spread in zip(slots, answers, strict=True):
            merged.add(_read(path), gauges=spread is not None)
            if spread is not None:
                spreads.append(spread)
        return merged, spreads

    def _own(self) -> list[Metric]:
        """This worker's samples, and those of the ones before it in the slot."""
        own = list(self._metrics.registry.collect())
        if not self._before:
            return (
                own  # merging takes most of the time, on the event loop and with a thousand tasks
            )
        live = self._metrics.live_tasks
        merged = _Merged()
        merged.add(own)
        merged.add(_without_removed(metric, live) for metric in self._before)
        return list(merged.collect())

    def _write(self) -> list[Metric]:
        own = self._own()
        content = [
            [m.name, m.documentation, m.type, [[s.name, s.labels, s.value] for s in m.samples]]
            for m in own
        ]
        aside = self._file.with_suffix(".writing")
        aside.write_bytes(orjson.dumps(content))
        aside.replace(self._file)
        return own

    async def _write_often(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            with suppress(OSError):  # a full disk stops no worker; a scrape tells
                self._write()

    async def _nudged(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            self._write()
            writer.write(orjson.dumps(self._metrics.spread.told()))
            await writer.drain()
        writer.close()


async def _nudge(path: Path) -> Spread | None:
    """What the worker of this socket answers once it wrote its slot; None from one that died."""
    with suppress(OSError, TimeoutError, orjson.JSONDecodeError):
        async with asyncio.timeout(_NUDGE_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                answer: Spread = orjson.loads(await reader.read())
                return answer
            finally:
                writer.close()
    return None


def _read(path: Path) -> list[Metric]:
    """Nothing for a slot that was never written."""
    try:
        content = orjson.loads(path.read_bytes())
    except OSError:
        return []
    found = []
    for name, text, kind, samples in content:
        metric = Metric(name, text, kind)
        for sample, labels, value in samples:
            metric.add_sample(sample, labels, value)
        found.append(metric)
    return found


def _without_removed(metric: Metric, live: frozenset[str]) -> Metric:
    kept = Metric(metric.name, metric.documentation, metric.type)
    for sample in metric.samples:
        task = sample.labels.get("task")
        if task is None or not live or task in live:
            kept.add_sample(sample.name, sample.labels, sample.value)
    return kept
