"""Replicas that share their tasks through Redis, and Redis in trouble."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_workers import traffic
from tests.redis_server import RedisServer
from tests.service.test_registry import renamed
from tests.service.tiny import BUNDLE, prompt_bytes
from tests.service_process import ServiceProcess, until


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), durable=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def replicas(
    redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[ServiceProcess]]:
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "other")]
    with (
        ServiceProcess(BUNDLE, folders[0], task_store=redis.url) as one,
        ServiceProcess(BUNDLE, folders[1], task_store=redis.url) as other,
    ):
        yield [one, other]


def all_serve(replicas: list[ServiceProcess]) -> bool:
    known = replicas[0].known_workers()
    states = {(worker["state"], worker["generation"]) for worker in known}
    return len(known) == len(replicas) and len(states) == 1 and states.pop()[0] == "serving"


def generations(replicas: list[ServiceProcess]) -> set[int]:
    return {replica.score().json()["generation"] for replica in replicas}


def test_a_graft_on_one_replica_is_served_by_all_when_it_is_answered(
    replicas: list[ServiceProcess],
) -> None:
    told = replicas[0].put("share", prompt_bytes("share")).json()
    assert len(told["workers"]) == 2
    answers = [replica.score().json() for replica in replicas]
    assert answers[0]["scores"] == answers[1]["scores"]
    assert generations(replicas) == {told["generation"]}


def test_redis_away_stops_no_score_and_all_catch_up_when_it_is_back(
    replicas: list[ServiceProcess], redis: RedisServer
) -> None:
    one, other = replicas
    one.put("share", prompt_bytes("share"))
    with traffic(one.score) as heard:
        redis.stop()
        until(lambda: one.known_workers()[0]["state"] == "behind")
        (alone,) = one.known_workers()
        assert alone["reason"].startswith("the task store")
        refused = one.put("skip", prompt_bytes("skip"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert httpx.get(f"{one.public}/readyz").status_code == 200
        redis.start()
        until(lambda: all_serve(replicas))
        grafted = other.put("skip", prompt_bytes("skip"))
        assert grafted.status_code == 201
    assert {getattr(answer, "status_code", answer) for answer in heard} == {200}
    assert generations(replicas) == {grafted.json()["generation"]}
    other.remove("skip")


def test_redis_hung_stops_no_score(replicas: list[ServiceProcess], redis: RedisServer) -> None:
    one, _ = replicas
    until(lambda: all_serve(replicas))
    redis.pause()
    try:
        with traffic(one.score) as heard:
            until(lambda: "in time" in one.known_workers()[0]["reason"])
            assert httpx.get(f"{one.public}/readyz", timeout=5).status_code == 200
    finally:
        redis.resume()
    assert {getattr(answer, "status_code", answer) for answer in heard} == {200}
    until(lambda: all_serve(replicas))


def test_redis_killed_at_any_moment_of_a_graft_leaves_one_state_everywhere(
    replicas: list[ServiceProcess], redis: RedisServer
) -> None:
    one, _ = replicas
    for delay_s in (0.0, 0.01, 0.02, 0.04):
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(one.put, "share", renamed("share", 1.0 + delay_s))
            threading.Event().wait(delay_s)
            redis.stop()
            redis.start()
            answer = call.result(timeout=60)
        assert answer.status_code in {200, 503}
        until(lambda: all_serve(replicas))
        answers = [replica.score().json() for replica in replicas]
        assert answers[0]["generation"] == answers[1]["generation"]
        assert answers[0]["scores"] == answers[1]["scores"]
        if answer.status_code == 200:
            assert answers[0]["tasks"]["share"]["version"] == answer.json()["version"]


def test_a_replica_is_not_ready_before_redis_answers_and_then_has_all_tasks(
    replicas: list[ServiceProcess], redis: RedisServer, tmp_path: Path
) -> None:
    replicas[0].put("share", prompt_bytes("share"))
    expected = replicas[0].score().json()
    redis.pause()
    late = ServiceProcess(BUNDLE, tmp_path, task_store=redis.url)
    try:
        late.spawn()
        until(lambda: late.told("tasks_not_followed"))
        late.public = late.told("listening")[0]["public"]
        late.admin = late.told("listening")[0]["admin"]
        assert httpx.get(f"{late.public}/readyz").status_code == 503
        assert httpx.get(f"{late.public}/livez").status_code == 200
        redis.resume()
        until(lambda: late.told("ready"))
        found = late.score().json()
        assert found["scores"] == expected["scores"]
        assert found["generation"] >= expected["generation"]
    finally:
        redis.resume()
        late.process.send_signal(signal.SIGINT)
        late.ended()
    until(lambda: all_serve(replicas))
