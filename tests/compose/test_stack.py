"""The compose file as a user runs it, through what happens to it: one story, told in order."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.compose.stack import Stack
from tests.live_server import ADMIN
from tests.service_process import ROOT, until

SCORES = 'taskgraft_requests_total{route="/v1/score",status="2xx"}'
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(workers=4) as running:
        yield running


def test_every_worker_scores(stack: Stack) -> None:
    until(stack.whole)
    assert len(list(stack.answering())) == 4
    until(lambda: stack.score()["degraded"] == "none")


def test_a_graft_reaches_every_worker_and_needs_a_token(stack: Stack) -> None:
    before = stack.score()["scores"]
    assert httpx.put(f"{stack.admin}/v1/tasks/share", timeout=30).status_code == 401
    answer = stack.put("share")
    assert answer.status_code == 201, answer.text
    assert len(answer.json()["workers"]) == 4
    after = stack.score()["scores"]
    assert set(after) == {*before, "share"}
    assert {task: after[task] for task in before} == before


def test_an_event_is_seen_by_the_next_score(stack: Stack) -> None:
    before = stack.score()["scores"]
    event = {"user_id": "user-3", "item_id": 105, "behaviour": "clicked", "ts": 2_000_000_000}
    answer = httpx.post(f"{stack.public}/v1/events", json={"events": [event]}, timeout=30)
    assert answer.status_code == 202
    assert stack.score()["scores"] != before


def test_without_redis_it_scores_on_ready_and_says_what_it_lacks(stack: Stack) -> None:
    stack.compose("stop", "--timeout", "5", "redis")
    answer = stack.score()
    assert answer["degraded"] != "none"
    assert "share" in answer["scores"]
    assert httpx.get(f"{stack.public}/readyz", timeout=30).status_code == 200


def test_redis_comes_back_with_all_it_held(stack: Stack) -> None:
    stack.compose("start", "redis")
    until(lambda: stack.score()["degraded"] == "none")
    until(stack.whole)
    history = httpx.get(f"{stack.admin}/v1/tasks/share/history", headers=ADMIN, timeout=30)
    assert history.status_code == 200
    assert "graft" in history.text


def test_prometheus_scrapes_the_service_and_has_loaded_the_rules(stack: Stack) -> None:
    until(lambda: list(stack.query('up{job="taskgraft"}').values()) == [1.0])
    answer = httpx.get(f"{stack.prometheus}/api/v1/rules", timeout=30).json()
    (group,) = answer["data"]["groups"]
    assert group["name"] == "taskgraft"
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}


def test_counters_never_go_back_when_a_worker_is_killed(stack: Stack) -> None:
    for _ in range(40):
        stack.score()
    until(lambda: sum(stack.query(SCORES).values()) >= 40)
    before = sum(stack.query(SCORES).values())
    victim = stack.known_workers()[0]["id"]
    program = f"import os, signal; os.kill({victim.split('-')[-2]}, signal.SIGKILL)"
    stack.compose("exec", "-T", "taskgraft", "python", "-c", program)
    until(lambda: stack.whole() and victim not in [w["id"] for w in stack.known_workers()])
    for _ in range(40):
        stack.score()
    until(lambda: sum(stack.query(SCORES).values()) >= before + 40)
    assert sum(stack.query(f"resets({SCORES}[10m])").values()) == 0
    until(lambda: list(stack.query("taskgraft_workers").values()) == [4.0])


def test_the_rules_hold_what_they_promise(stack: Stack) -> None:
    """Promtool's own checks of the configuration, and the alerts' unit tests."""
    stack.compose("exec", "-T", "prometheus", "promtool", "check", "config",
                  "/etc/prometheus/prometheus.yaml")  # fmt: skip
    stack.compose("run", "--rm", "--no-deps", "-T", "-v", f"{ROOT}/monitoring:/monitoring:ro",
                  "-e", "TMPDIR=/prometheus",
                  "-w", "/monitoring", "--entrypoint", "promtool", "prometheus",
                  "test", "rules", "alerts.test.yaml")  # fmt: skip


def test_told_to_stop_it_drains_and_ends_well(stack: Stack) -> None:
    stack.compose("stop", "taskgraft")
    told = stack.compose("ps", "--all", "--format", "{{.ExitCode}}", "taskgraft")
    assert told == "0"
    assert '"draining"' in stack.compose("logs", "--no-log-prefix", "taskgraft")
