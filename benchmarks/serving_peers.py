"""`make bench-peers`: the same checkpoint scored by taskgraft and by other servers.

    checkpoint --bundle------> taskgraft, in 8 bits and exact: raw ids, its own look-ups,
                               no user remembered from an earlier request
               --plain.onnx--> each peer: arrays encoded beforehand, an advantage
    rounds of all, one server at a time --scores checked, then timed--> results/peers.json

Every server runs on one core and is asked from the other. A round starts each anew, so that no idle
neighbour costs it anything; ratios are taken within a round. Rates are of callers who ask again
when answered, as many as serve a server best; latencies are at a steady 70 % of that rate. A peer
that fails is named with its reason, and the others go on.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks.collector import uncollected
from benchmarks.cores import Cores
from benchmarks.machine import describe_machine
from benchmarks.open_loop import Caller, post
from benchmarks.peer_figures import GOALS, figures_of
from benchmarks.peer_forms import Scores
from benchmarks.peer_plan import KNOWN, Peer, PeerServer, Unavailable, installed
from benchmarks.plain_graph import write_plain
from benchmarks.progress import tell_progress
from benchmarks.results import FOLDER
from benchmarks.running_service import RunningService
from benchmarks.serving_document import publish
from benchmarks.serving_rounds import (
    FORGETFUL,
    LOAD,
    Measures,
    latencies,
    percentiles,
    reached,
)
from benchmarks.serving_world import SHARED, World, exported, trained_run
from service.encoder import Encoder
from service.engine import Cancellation, Engine
from training.checkpoint import read_checkpoint

_CALLERS = (4, 16)
_TOLERANCE = 1e-5
_DRIFT = 3.0  # times what export saw, as the service itself accepts
# Whatever a peer does, the others go on.
_FAILURES = (
    Unavailable,
    RuntimeError,
    LookupError,
    ValueError,
    OSError,
    subprocess.SubprocessError,
)
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


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    tell_progress()
    cores = Cores.here()
    notes = {name: str(getattr(options, name)) for name in ("rounds", "seconds")}
    notes |= {f"absent/{p.name}": "not asked for" for p in KNOWN if p.name not in options.peers}
    peers = [peer for peer in KNOWN if peer.name in options.peers and _usable(peer, notes)]
    with tempfile.TemporaryDirectory() as name:
        bench = _bench(options, Path(name), cores)
        cores.asking()
        rounds = [_round(bench, peers, number, notes) for number in range(options.rounds)]
    machine = describe_machine(("onnxruntime", "uvicorn", "numpy"))
    publish("peers", machine, figures_of(rounds), notes, options.results)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_peers")
    parser.add_argument("--data", type=Path, default=SHARED, help="holds kuairand/")
    parser.add_argument("--run", type=Path, help="a trained run on that data, instead of our own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measure")
    parser.add_argument("--sizes", type=int, nargs="+", default=(100, 500), help="candidates")
    names = [peer.name for peer in KNOWN]
    parser.add_argument("--peers", nargs="*", default=names, choices=names)
    parser.add_argument("--results", type=Path, default=FOLDER)
    return parser.parse_args(arguments)


def _bench(options: argparse.Namespace, folder: Path, cores: Cores) -> Bench:
    run, data = (options.run, options.data) if options.run else trained_run(options.data)
    world = World.open(exported(run, data, folder / "bundle"))
    write_plain(read_checkpoint(run / "backbone"), folder / "plain")
    encoder, engine = Encoder(world.bundle.lookups), Engine.open(world.bundle, exact=True)
    tasks = world.tasks
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


def _usable(peer: Peer, notes: dict[str, str]) -> bool:
    log.info("%s: its environment", peer.name)
    try:
        installed(peer)
    except Unavailable as err:
        notes[f"absent/{peer.name}"] = str(err)
        log.warning("%s %s", peer.name, err)
        return False
    return True


def _round(bench: Bench, peers: Sequence[Peer], number: int, notes: dict[str, str]) -> Measures:
    """All servers once, each round beginning with another; a peer that fails is only noted."""
    turns = deque[Peer | str]([*GOALS, *peers])
    turns.rotate(-number)
    found: Measures = {}
    for turn in turns:
        if isinstance(turn, str):
            measured = _own(bench, turn)
        else:
            try:
                measured = _other(bench, turn)
            except _FAILURES as err:
                notes[f"failed/{turn.name} in round {number + 1}"] = str(err)
                log.warning("round %d: %s %s", number + 1, turn.name, err)
                continue
        told = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
        log.info("round %d: %s", number + 1, told)
        found |= measured
    return found


def _own(bench: Bench, name: str) -> Measures:
    exact = name.endswith("exact")
    serving = bench.world.bundle.manifest.serving
    tolerance = _TOLERANCE + (0 if exact or serving is None else _DRIFT * serving.drift)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        store = bench.world.fill_store(Path(folder) / "features")
        # Peers refuse nobody, so nobody is refused here while the machine is slow for a moment.
        patient = {"DEFAULT_DEADLINE_MS": "10000", "MAX_IN_FLIGHT": "4096"}
        more = FORGETFUL | patient | {"EXACT": str(exact).lower()}
        with bench.cores.serving():
            service = running.enter_context(
                RunningService(bench.world.bundle.folder, 1, feature_store=store, more=more)
            )
        return _own_sizes(bench, name, service, tolerance)


def _own_sizes(bench: Bench, name: str, service: RunningService, tolerance: float) -> Measures:
    found: Measures = {}
    for size in bench.arrays:
        bodies = bench.world.bodies(size)
        url = f"http://{service.host}:{service.port}/v1/score"
        answer = httpx.post(url, content=bodies[0], timeout=30).raise_for_status().json()
        scores = np.stack([answer["scores"][task] for task in bench.world.tasks], axis=1)
        _check(name, scores, bench.right[size], tolerance)
        requests = [post("/v1/score", body) for body in bodies]
        address = service.host, service.port
        found |= _measured(f"{name}/{size}", address, requests, bench.seconds)
    return found


def _other(bench: Bench, peer: Peer) -> Measures:
    found: Measures = {}
    with PeerServer(peer, bench.model, bench.cores) as server:
        for size, calls in bench.arrays.items():
            encoded = [peer.form.encode(call) for call in calls]
            answer = server.answer(*encoded[0])
            scores = peer.form.decode(answer.headers, answer.content, len(bench.world.tasks))
            _check(peer.name, scores, bench.right[size], _TOLERANCE)
            requests = [post(peer.path, body, headers) for headers, body in encoded]
            address = "127.0.0.1", server.port
            found |= _measured(f"{peer.name}/{size}", address, requests, bench.seconds)
    return found


def _check(name: str, scores: Scores, right: Scores, tolerance: float) -> None:
    away = float(np.abs(scores - right).max()) if scores.shape == right.shape else np.inf
    if not away <= tolerance:
        raise RuntimeError(f"{name} scores {away:.3g} away, at most {tolerance:.3g} is accepted")


def _measured(
    name: str, address: tuple[str, int], requests: Sequence[bytes], seconds: float
) -> Measures:
    """Requests a second from as many callers as serve it best; latencies at 70 % of that rate."""

    async def ask() -> Measures:
        caller = Caller(address, requests)
        await caller.saturate(_CALLERS[0], seconds / 2)
        best = max([await reached(caller, callers, seconds) for callers in _CALLERS])
        steady = latencies(await caller.flow(LOAD * best, 2 * seconds))
        caller.close()
        return {f"{name}/rate": best} | percentiles(name, steady)

    with uncollected(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ask())


if __name__ == "__main__":
    sys.exit(main())
