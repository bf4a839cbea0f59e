"""Several worker processes of one service: one state, whoever dies when."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live_server import ADMIN
from tests.service.test_registry import renamed
from tests.service.tiny import BUNDLE, prompt_bytes
from tests.service_process import ServiceProcess, until

KILLS = 4
SWAPS = 12


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(BUNDLE, tmp_path_factory.mktemp("service"), workers=2) as running:
        yield running


def whole(service: ServiceProcess) -> bool:
    """As many workers as wanted, all in one state."""
    with suppress(httpx.TransportError):
        known = service.known_workers()
        states = {(worker["state"], worker["generation"]) for worker in known}
        return len(known) == service.workers and len(states) == 1
    return False


def counted(service: ServiceProcess, series: str) -> float:
    text = httpx.get(f"{service.public}/metrics", timeout=30).text
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def gone(pid: int) -> bool:
    """Ended; perhaps not waited for yet."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2] == "Z"
    return True


@contextmanager
def traffic(
    score: Callable[[httpx.Client | None], httpx.Response], *, keep_alive: bool = False
) -> Iterator[list[Any]]:
    """Three callers score all the while; all answers, and errors of connections."""
    done, heard = threading.Event(), list[Any]()

    def keep_scoring() -> None:
        with httpx.Client() as client:
            while not done.is_set():
                try:
                    heard.append(score(client if keep_alive else None))
                except httpx.TransportError as err:
                    heard.append(err)

    with ThreadPoolExecutor(3) as pool:
        running: list[Future[None]] = [pool.submit(keep_scoring) for _ in range(3)]
        try:
            yield heard
        finally:
            done.set()
        for caller in running:
            caller.result(timeout=60)


def test_a_graft_through_one_port_is_served_by_every_worker(service: ServiceProcess) -> None:
    grafted = service.put("share", prompt_bytes("share"))
    assert grafted.status_code == 201
    told = grafted.json()
    assert [w["generation"] for w in told["workers"]] == [told["generation"]] * 2
    answers = list(service.answers_of_each())
    assert {answer["generation"] for answer in answers} == {told["generation"]}
    assert answers[0]["scores"] == answers[1]["scores"]
    assert "share" in answers[0]["scores"]


def test_a_killed_worker_is_replaced_under_traffic_and_knows_what_was_grafted(
    service: ServiceProcess,
) -> None:
    """Only what the dead worker held in its hands is lost, and no count goes back."""
    counters = (
        "taskgraft_scored_rows_total",
        'taskgraft_requests_total{route="/v1/score",status="2xx"}',
        'taskgraft_task_requests_total{outcome="scored",task="share"}',
        'taskgraft_stage_seconds_count{stage="run"}',
    )
    until(lambda: whole(service))
    service.put("share", prompt_bytes("share"))
    before = {worker["id"] for worker in service.known_workers()}
    generation = service.score().json()["generation"]
    counts = {name: counted(service, name) for name in counters}
    assert min(counts.values()) > 0
    with traffic(service.score) as heard:
        until(lambda: len(heard) > 20)
        os.kill(service.pids()[0], signal.SIGKILL)
        until(lambda: len(heard) > 60)
        for name in counters:
            assert counted(service, name) >= counts[name]
        until(lambda: whole(service) and {w["id"] for w in service.known_workers()} != before)
    lost = [answer for answer in heard if isinstance(answer, Exception)]
    answers = [answer for answer in heard if not isinstance(answer, Exception)]
    assert len(lost) <= 3
    assert {answer.status_code for answer in answers} == {200}
    assert {answer["generation"] for answer in service.answers_of_each()} == {generation}
    for name in counters:
        assert counted(service, name) >= counts[name]
    assert counted(service, "taskgraft_workers") == 2
    for worker in range(2):
        series = f'taskgraft_worker_generation{{worker="{worker}"}}'
        assert counted(service, series) == generation


@pytest.mark.parametrize("keep_alive", [False, True])
def test_workers_told_to_go_one_by_one_lose_no_request(
    service: ServiceProcess, *, keep_alive: bool
) -> None:
    until(lambda: whole(service))
    before = {worker["id"] for worker in service.known_workers()}
    with traffic(service.score, keep_alive=keep_alive) as heard:
        for pid in service.pids():
            os.kill(pid, signal.SIGTERM)
            until(partial(gone, pid))
            until(partial(whole, service))
    assert [answer for answer in heard if isinstance(answer, Exception)] == []
    assert {answer.status_code for answer in heard} == {200}
    assert before.isdisjoint(worker["id"] for worker in service.known_workers())


def test_no_answer_mixes_versions_while_they_come_and_go(service: ServiceProcess) -> None:
    """Whichever worker answers: the version that it names is the one that scored."""
    until(lambda: whole(service))
    bodies = [prompt_bytes("share"), renamed("share", 1.0)]
    with traffic(service.score) as heard:
        for swap in range(SWAPS):
            assert service.put("share", bodies[swap % 2]).status_code in {200, 201}
    assert {getattr(answer, "status_code", answer) for answer in heard} == {200}
    scores: dict[int, Any] = {}
    for document in (answer.json() for answer in heard):
        if "share" in document["tasks"]:
            version = document["tasks"]["share"]["version"]
            found = document["scores"]["share"]
            assert scores.setdefault(version, found) == found
    assert len({str(found) for found in scores.values()}) == 2


def test_a_worker_killed_at_any_moment_of_a_graft_leaves_one_state_everywhere(
    service: ServiceProcess,
) -> None:
    rng = random.Random()
    acknowledged = service.put("share", prompt_bytes("share")).json()["version"]
    for kill in range(KILLS):
        until(lambda: whole(service))
        pids = service.pids()
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(service.put, "share", renamed("share", 1.0 + kill))
            time.sleep(rng.random() * 0.08)
            os.kill(rng.choice(pids), signal.SIGKILL)
            with suppress(httpx.TransportError):
                answer = call.result(timeout=60)
                assert answer.status_code in {200, 503}
                if answer.status_code == 200:
                    acknowledged = answer.json()["version"]
        until(lambda: whole(service))
        answers = list(service.answers_of_each())
        assert len({answer["generation"] for answer in answers}) == 1
        assert answers[0]["tasks"] == answers[1]["tasks"]
        assert answers[0]["scores"] == answers[1]["scores"]
        assert answers[0]["tasks"]["share"]["version"] >= acknowledged


def test_after_everything_was_killed_the_last_acknowledged_state_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with ServiceProcess(BUNDLE, tmp_path, workers=2) as service:
        told = service.put("share", prompt_bytes("share")).json()
        scores = service.score().json()["scores"]
        pids = service.pids()
        service.process.kill()  # the workers notice, and end by themselves
        service.ended()
        until(lambda: all(map(gone, pids)))
        assert list(tmp_path.glob("taskgraft-*")) == []
        service.start()
        for answer in service.answers_of_each():
            assert answer["generation"] == told["generation"]
            assert answer["scores"] == scores


def test_sigterm_ends_all_workers_and_exits_cleanly(tmp_path: Path) -> None:
    with ServiceProcess(BUNDLE, tmp_path, workers=2, drain_s=0.2) as service:
        pids = service.pids()
        service.process.send_signal(signal.SIGTERM)
        assert service.ended() == 0
        assert all(map(gone, pids))
        assert len(service.told("draining")) == 2
        assert service.told("worker_ended") == []


@pytest.mark.parametrize(
    ("variables", "code", "sentence"),
    [
        ({"providers": "cuda"}, 2, "error: none of the providers cuda"),
        ({"task_store": "/dev/null/tasks"}, 1, "error: the task store cannot be written"),
    ],
)
def test_a_worker_that_cannot_start_ends_the_service_with_its_sentence(
    tmp_path: Path, variables: dict[str, str], code: int, sentence: str
) -> None:
    service = ServiceProcess(BUNDLE, tmp_path, workers=2, **variables)
    service.spawn()
    assert service.ended() == code
    assert service.errors.startswith(sentence)
    assert "Traceback" not in service.errors


def test_whichever_worker_is_asked_tells_the_live_figures_of_all(service: ServiceProcess) -> None:
    def live() -> dict[str, Any]:
        answer = httpx.get(f"{service.admin}/v1/live", headers=ADMIN, timeout=30)
        document: dict[str, Any] = answer.raise_for_status().json()
        return document

    until(lambda: whole(service))
    before = live()["requests"].get("2xx", 0)
    scored = len(list(service.answers_of_each()))
    after = live()
    assert after["workers"] == scored == 2
    assert after["requests"]["2xx"] >= before + scored
    assert sum(after["spread"]["click"]["0"]) >= 3 * scored


def test_workers_share_the_memory_of_what_was_imported_once(service: ServiceProcess) -> None:
    """And the process they are forked from has no thread that a fork would lose."""
    assert len([*Path(f"/proc/{service.process.pid}/task").iterdir()]) == 1
    for pid in service.pids():
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
        kib = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB", rollup, re.M)}
        assert kib["Shared_Dirty"] > kib["Private_Dirty"] > 0


def test_a_worker_that_comes_later_checks_the_bundle_for_itself(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(BUNDLE, tmp_path / "bundle"))
    with ServiceProcess(bundle, tmp_path, workers=2) as service:
        graph = bundle / "backbone.onnx"
        graph.write_bytes(graph.read_bytes() + b"!")
        os.kill(service.pids()[0], signal.SIGKILL)
        until(lambda: len(service.told("worker_ended")) >= 2)
        assert "backbone.onnx is not the file" in service.told("worker_ended")[1]["reason"]
        assert service.score().status_code == 200
