"""Canaries and shadows among real worker processes."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.task_directory import TaskDirectory
from tests.e2e.test_workers import counted, traffic, whole
from tests.live_server import ADMIN
from tests.service.test_registry import renamed
from tests.service.tiny import BUNDLE
from tests.service_process import ServiceProcess, until

USERS = 150
Shares = dict[str, Any]


class Routed(ServiceProcess):
    """A service whose task has three versions: the first scores, each next one higher."""

    def __init__(self, folder: Path) -> None:
        super().__init__(BUNDLE, folder, workers=2)
        self.store = TaskDirectory(folder / "tasks")
        self.http = httpx.Client(timeout=30)

    def __enter__(self) -> Routed:
        super().__enter__()
        for shift in (0.0, 1.0, 3.0):
            self.put("share", renamed("share", shift), activate=str(shift == 0.0).lower())
        return self

    def route(self, **wanted: object) -> httpx.Response:
        url = f"{self.admin}/v1/tasks/share/routing"
        return httpx.put(url, json=wanted, headers=ADMIN, timeout=60)

    def shown(self, what: str = "routing") -> Shares:
        answer = httpx.get(f"{self.admin}/v1/tasks/share/{what}", headers=ADMIN, timeout=30)
        found: Shares = answer.raise_for_status().json()
        return found

    def ask(self, user: int) -> tuple[str, int, tuple[float, ...]]:
        """On a connection of its own: worker, version, scores."""
        request = {"user_id": f"u{user}", "item_ids": [100, 101, 102], "deadline_ms": 5000}
        answer = self.http.post(
            f"{self.public}/v1/score", json=request, headers={"Connection": "close"}
        )
        found = answer.raise_for_status().json()
        return (
            answer.headers["X-Worker"],
            found["tasks"]["share"]["version"],
            tuple(found["scores"]["share"]),
        )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routed]:
    with Routed(tmp_path_factory.mktemp("service")) as running, running.http:
        yield running


def test_users_stay_with_their_version_whoever_answers_and_no_answer_mixes(
    service: Routed,
) -> None:
    until(lambda: whole(service))
    alone = {}
    for version in (1, 2):
        assert service.route(stable=version).status_code == 200
        alone[version] = [service.ask(user)[2] for user in range(USERS)]
    assert service.route(stable=1, canary={"version": 2, "percent": 20}, shadow=3).is_success
    seen = [[service.ask(user) for user in range(USERS)] for _ in range(2)]
    assert len({worker for found in seen for worker, _, _ in found}) == 2
    for found in seen:
        for user, (_, version, scores) in enumerate(found):
            assert scores == alone[version][user]
    versions = [[version for _, version, _ in found] for found in seen]
    assert versions[0] == versions[1]
    share = Counter(versions[0])[2] / USERS
    assert abs(share - 0.2) < 5 * (0.2 * 0.8 / USERS) ** 0.5
    assert service.route(stable=1, canary={"version": 2, "percent": 60}).is_success
    grown = [service.ask(user)[1] for user in range(USERS)]
    assert all(after == 2 for before, after in zip(versions[0], grown, strict=True) if before == 2)
    assert Counter(grown)[2] > Counter(versions[0])[2]


def test_one_scrape_and_one_question_tell_what_all_workers_counted(service: Routed) -> None:
    service.route(stable=1)
    before = counted(service, 'taskgraft_task_canary_rows_total{task="share"}')
    service.route(stable=1, canary={"version": 2, "percent": 100}, shadow=3)
    workers = Counter(service.ask(user)[0] for user in range(60))
    assert len(workers) == 2
    until(lambda: [one["rows"] for one in service.shown("drift")["versions"]] == [180, 180])
    canary, shadow = service.shown("drift")["versions"]
    assert (canary["roles"], shadow["roles"]) == (["canary"], ["shadow"])
    assert canary["overlap"] == shadow["overlap"] == 1
    series = 'taskgraft_drift_rows{task="share",version="2"}'
    until(lambda: counted(service, series) == 180)
    assert counted(service, 'taskgraft_task_canary_rows_total{task="share"}') == before + 180
    service.route(stable=1)
    until(lambda: counted(service, series) == 0)


def test_the_guard_takes_a_drifting_canary_away_under_traffic(service: Routed) -> None:
    service.route(
        stable=1, canary={"version": 3, "percent": 100}, guard={"max_psi": 0.25, "min_rows": 300}
    )
    with traffic(service.score, keep_alive=True) as heard:
        until(lambda: service.shown()["canary"] is None)
        sofar = len(heard)
        until(lambda: len(heard) > sofar + 30)
    assert {getattr(answer, "status_code", answer) for answer in heard} == {200}
    assert {service.ask(user)[1] for user in range(20)} == {1}
    history = httpx.get(
        f"{service.admin}/v1/tasks/share/history", headers=ADMIN, timeout=30
    ).json()["history"]
    told = [entry["detail"] for entry in history if entry["who"] == "guard"]
    assert len(told) == 1
    assert told[0].startswith("canary 3 taken away: psi ")
    assert len(service.told("canary_stopped")) == 1


def test_a_proposer_killed_before_it_confirms_leaves_the_old_routing_whole(
    service: Routed,
) -> None:
    """One worker stands still, so the other's proposal waits for it, and is killed there."""
    until(lambda: whole(service))
    service.route(stable=1, canary={"version": 2, "percent": 50})
    before = service.shown()
    still, proposer = service.pids()
    os.kill(still, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        try:
            call = pool.submit(service.route, stable=2, canary={"version": 3, "percent": 50})
            until(lambda: service.store.read().candidates)
            os.kill(proposer, signal.SIGKILL)
        finally:
            os.kill(still, signal.SIGCONT)
        with suppress(httpx.TransportError):
            assert not call.result(timeout=60).is_success
    until(lambda: whole(service))
    assert service.shown() | {"generation": 0} == before | {"generation": 0}
    both = dict[str, Any]()
    until(lambda: both.update({(found := service.ask(0))[0]: found[1:]}) or len(both) == 2)
    assert len(set(both.values())) == 1
    assert service.route(stable=1, canary={"version": 3, "percent": 50}).is_success
    assert service.shown()["canary"]["version"] == 3
