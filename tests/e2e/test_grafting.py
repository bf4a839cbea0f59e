"""Grafting over HTTP on the real parts, while others score."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.parts import open_parts
from tests.live_server import ADMIN, LiveServer, live_server, settings_for_tests
from tests.service.tiny import BUNDLE, DTRN, prompt_bytes

REQUEST = {"user_id": "user-3", "item_ids": [100, 101, 102, 999], "context": {"device": "phone"}}
HEADS = {"click", "like"}
PROMPT = ADMIN | {"Content-Type": "application/octet-stream"}
SWAPS = 12
TOLERANCE = 1e-5


def serve(state: Path, bundle: Path = BUNDLE) -> AbstractContextManager[LiveServer]:
    settings = settings_for_tests(
        bundle=bundle,
        feature_store=f"embedded:{state / 'features'}",
        task_store=str(state / "tasks"),
    )
    return live_server(open_parts, settings)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveServer]:
    with serve(tmp_path) as server:
        yield server


def score(live: LiveServer, **changes: object) -> dict[str, Any]:
    answer = httpx.post(f"{live.public}/v1/score", json=REQUEST | changes)
    document: dict[str, Any] = answer.raise_for_status().json()
    return document


def put(live: LiveServer, task: str, bundle: Path = BUNDLE) -> httpx.Response:
    url = f"{live.admin}/v1/tasks/{task}"
    return httpx.put(url, content=prompt_bytes(task, bundle), headers=PROMPT)


def test_a_grafted_task_is_in_the_next_answer_and_the_old_scores_stay(live: LiveServer) -> None:
    before = score(live)
    grafted = put(live, "share")
    after = score(live)
    assert grafted.status_code == 201
    assert after["generation"] == grafted.json()["generation"] > before["generation"]
    assert set(after["scores"]) == HEADS | {"share"}
    assert {task: after["scores"][task] for task in HEADS} == before["scores"]
    assert after["tasks"]["share"] == {"version": 1}


@pytest.mark.parametrize("history", [{}, {"clicked": [100, 104], "liked": [101]}])
def test_prompts_that_condition_the_backbone_are_grafted_like_plain_ones(
    tmp_path: Path, history: dict[str, list[int]]
) -> None:
    """One that conditions a DTRN backbone, then a plain one: what was there moves by no bit."""
    with serve(tmp_path, DTRN) as live:
        before = score(live, history=history)["scores"]
        grafted = put(live, "share", DTRN)
        one = score(live, history=history)["scores"]
        assert put(live, "skip", DTRN).status_code == 201
        both = score(live, history=history)["scores"]
        refused = put(live, "skip")
    assert grafted.status_code == 201
    assert grafted.json()["checks"]["golden_largest_difference"] <= TOLERANCE
    assert before.keys() == HEADS
    assert {task: one[task] for task in HEADS} == before
    assert {task: both[task] for task in one} == one
    assert both["share"] != both["skip"]
    assert refused.json()["error"]["reason"] == "wrong_backbone"


def test_what_was_grafted_is_there_after_a_restart(tmp_path: Path) -> None:
    with serve(tmp_path) as first:
        put(first, "share")
        before = score(first)
    with serve(tmp_path) as second:
        after = score(second)
    assert after["scores"] == before["scores"]
    assert after["generation"] == before["generation"]


def test_an_event_is_in_the_next_score_of_its_user(live: LiveServer) -> None:
    before = score(live)["scores"]
    event = {"user_id": "user-3", "item_id": 101, "behaviour": "clicked", "ts": 1}
    assert httpx.post(f"{live.public}/v1/events", json={"events": [event]}).status_code == 202
    after = score(live)["scores"]
    assert after != before
    assert after == score(live, history={"clicked": [101]})["scores"]


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 8, b"cut", b"flip"])
def test_a_damaged_prompt_is_refused_and_nothing_moves(live: LiveServer, damage: bytes) -> None:
    sound = prompt_bytes("share")
    flipped = sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:]
    body = {b"cut": sound[:-1], b"flip": flipped}.get(damage, damage)
    before = score(live)
    answer = httpx.put(f"{live.admin}/v1/tasks/share", content=body, headers=PROMPT)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "prompt_refused"
    after = score(live)
    assert {k: after[k] for k in ("generation", "scores")} == {
        k: before[k] for k in ("generation", "scores")
    }


def test_no_answer_fails_or_mixes_tasks_while_they_come_and_go(live: LiveServer) -> None:
    """Whatever is live when a request begins, each task's scores are its own, to the last bit."""
    for task in ("share", "skip"):
        put(live, task)
    reference = score(live)["scores"]
    assert reference["share"] != reference["skip"]
    done = threading.Event()

    def keep_scoring() -> int:
        answers = 0
        with httpx.Client() as client:
            while not done.is_set():
                answer = client.post(f"{live.public}/v1/score", json=REQUEST)
                assert answer.status_code == 200, answer.text
                scores = answer.json()["scores"]
                assert scores.keys() >= HEADS
                assert scores == {task: reference[task] for task in scores}
                answers += 1
        return answers

    with ThreadPoolExecutor(3) as pool:
        scoring = [pool.submit(keep_scoring) for _ in range(3)]
        try:
            for swap in range(SWAPS):
                task = ("share", "skip")[swap % 2]
                url = f"{live.admin}/v1/tasks/{task}"
                assert httpx.delete(url, headers=ADMIN).status_code == 200
                assert put(live, task).status_code == 201
        finally:
            done.set()
        assert all(answers.result(timeout=30) > 0 for answers in scoring)
