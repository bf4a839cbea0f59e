"""`make bench-peers`: the same checkpoint scored by taskgraft and by other servers.

    checkpoint --bundle------> taskgraft, in 8 bits and exact: raw ids, its own look-ups
               --plain.onnx--> each peer: arrays encoded beforehand, an advantage
    rounds of all, one server at a time --scores checked, then timed--> results/peers.json

Every server runs on one core and is asked from the other. A round starts each anew, so that no idle
neighbour costs it anything; ratios are taken within a round, and each server's own best number of
callers counts.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks.cores import Cores
from benchmarks.machine import describe_machine
from benchmarks.open_loop import Caller, post
from benchmarks.peer_figures import figures_of
from benchmarks.peer_forms import Scores
from benchmarks.peer_plan import ABSENT, KNOWN, Peer, PeerServer, Unavailable, installed
from benchmarks.plain_graph import write_plain
from benchmarks.results import FOLDER, write_results
from benchmarks.running_service import RunningService
from benchmarks.serving_document import write_document
from benchmarks.serving_rounds import Measures, answered
from benchmarks.serving_world import SHARED, World, exported, trained_run
from service.encoder import Encoder
from service.engine import Cancellation, Engine
from training.checkpoint import read_checkpoint

OWN = ("taskgraft int8", "taskgraft exact")
_CALLERS = (4, 16)
_TOLERANCE = 1e-5
_DRIFT = 3.0  # times what export saw, as the service itself accepts
log = logging.getLogger("bench-peers")


@dataclass(frozen=True, slots=True)
class Bench:
    """What all servers share: the world, and the scores that are right."""

    world: World
    cores: Cores
    model: Path
    seconds: float
    arrays: dict[int, list[dict[str, NDArray[Any]]]]
    right: dict[int, Scores]

    @property
    def tasks(self) -> list[str]:
        return [task.name for task in self.world.bundle.manifest.tasks]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_peers")
    parser.add_argument("--data", type=Path, default=SHARED, help="holds kuairand/")
    parser.add_argument("--run", type=Path, help="a trained run on that data, instead of our own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measure")
    parser.add_argument("--sizes", type=int, nargs="+", default=(100, 500), help="candidates")
    parser.add_argument("--peers", nargs="*", default=[peer.name for peer in KNOWN])
    parser.add_argument("--results", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for chatty in ("httpx", "onnxscript", "onnx_ir"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    cores = Cores.here()
    absent = dict(ABSENT) | {p.name: "not asked for" for p in KNOWN if p.name not in options.peers}
    peers = _usable([peer for peer in KNOWN if peer.name in options.peers], absent)
    with tempfile.TemporaryDirectory() as name:
        bench = _bench(options, Path(name), cores)
        cores.asking()
        rounds = [_round(bench, peers, absent) for _ in range(options.rounds)]
    notes = {f"absent/{name}": why for name, why in absent.items()}
    notes |= {name: str(getattr(options, name)) for name in ("rounds", "seconds")}
    figures = figures_of(rounds)
    machine = describe_machine(("onnxruntime", "uvicorn", "numpy"))
    path = write_results("peers", machine, figures, notes, options.results)
    log.info("written: %s", path.name)
    if options.results == FOLDER:
        write_document()
    return 0


def _bench(options: argparse.Namespace, folder: Path, cores: Cores) -> Bench:
    run, data = (options.run, options.data) if options.run else trained_run(options.data)
    world = World.open(exported(run, data, folder / "bundle"))
    write_plain(read_checkpoint(run / "backbone"), folder / "plain")
    encoder, engine = Encoder(world.bundle.lookups), Engine.open(world.bundle, exact=True)
    tasks = [task.name for task in world.bundle.manifest.tasks]
    arrays, right = {}, {}
    for size in options.sizes:
        arrays[size] = world.arrays(encoder, size)
        scored = engine.run(arrays[size][0], tasks, None, Cancellation())
        right[size] = np.stack([scored.heads[task] for task in tasks], axis=1)
        for call in arrays[size]:
            del call["row_user"]
    named = {spec.name for spec in world.bundle.manifest.backbone.inputs}
    arrays = {n: [{k: a for k, a in c.items() if k in named} for c in v] for n, v in arrays.items()}
    return Bench(world, cores, folder / "plain", options.seconds, arrays, right)


def _usable(peers: Sequence[Peer], absent: dict[str, str]) -> list[Peer]:
    found = []
    for peer in peers:
        try:
            installed(peer)
            found.append(peer)
        except Unavailable as err:
            absent[peer.name] = str(err)
            log.warning("%s %s", peer.name, err)
    return found


def _round(bench: Bench, peers: list[Peer], absent: dict[str, str]) -> Measures:
    found: Measures = {}
    for name in OWN:
        found |= _own(bench, name)
    for peer in list(peers):
        try:
            found |= _other(bench, peer)
        except Unavailable as err:
            absent[peer.name] = str(err)
            peers.remove(peer)
            log.warning("%s %s", peer.name, err)
    log.info("%s", {name: round(value, 1) for name, value in found.items()})
    return found


def _own(bench: Bench, name: str) -> Measures:
    exact = name.endswith("exact")
    serving = bench.world.bundle.manifest.serving
    tolerance = _TOLERANCE + (0 if exact or serving is None else _DRIFT * serving.drift)
    with tempfile.TemporaryDirectory() as folder:
        store = bench.world.fill_store(Path(folder) / "features")
        more = {"EXACT": str(exact).lower(), "DEFAULT_DEADLINE_MS": "10000"}
        with bench.cores.serving():
            service = RunningService(bench.world.bundle.folder, 1, feature_store=store, more=more)
            service.__enter__()
        try:
            return _own_sizes(bench, name, service, tolerance)
        finally:
            service.__exit__(None, None, None)


def _own_sizes(bench: Bench, name: str, service: RunningService, tolerance: float) -> Measures:
    found: Measures = {}
    for size in bench.arrays:
        bodies = bench.world.bodies(size)
        url = f"http://{service.host}:{service.port}/v1/score"
        answer = httpx.post(url, content=bodies[0], timeout=30).raise_for_status().json()
        scores = np.stack([answer["scores"][task] for task in bench.tasks], axis=1)
        _check(name, scores, bench.right[size], tolerance)
        requests = [post("/v1/score", body) for body in bodies]
        found[f"{name}/{size}"] = _best((service.host, service.port), requests, bench.seconds)
    return found


def _other(bench: Bench, peer: Peer) -> Measures:
    found: Measures = {}
    with PeerServer(peer, bench.model, bench.cores) as server:
        for size, calls in bench.arrays.items():
            encoded = [peer.form.encode(call) for call in calls]
            answer = server.answer(*encoded[0])
            scores = peer.form.decode(answer.headers, answer.content, len(bench.tasks))
            _check(peer.name, scores, bench.right[size], _TOLERANCE)
            requests = [post(peer.path, body, headers) for headers, body in encoded]
            rate = _best(("127.0.0.1", server.port), requests, bench.seconds)
            found[f"{peer.name}/{size}"] = rate
    return found


def _check(name: str, scores: Scores, right: Scores, tolerance: float) -> None:
    away = float(np.abs(scores - right).max()) if scores.shape == right.shape else np.inf
    if not away <= tolerance:
        raise RuntimeError(f"{name} scores {away:.3g} away, at most {tolerance:.3g} is accepted")


def _best(address: tuple[str, int], requests: Sequence[bytes], seconds: float) -> float:
    """Requests a second with the number of callers that serves it best."""

    async def ask() -> float:
        caller, rates = Caller(address, requests), []
        await caller.saturate(_CALLERS[0], min(1.0, seconds))
        for callers in _CALLERS:
            heard = await caller.saturate(callers, seconds)
            rates.append(len(answered(heard)) / seconds)
        caller.close()
        return max(rates)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ask())


if __name__ == "__main__":
    sys.exit(main())
