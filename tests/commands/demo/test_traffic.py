"""Scores compared as bytes, by a caller that never stops asking."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from commands.demo.traffic import Answer, Traffic, ask
from tests.client.conftest import Answer as Said
from tests.client.conftest import Server

REQUEST = {"user_id": 1, "item_ids": [2, 3]}


def said(like: str = "[0.25,0.5]", more: str = "", generation: int = 1) -> Said:
    text = f'{{"generation":{generation},"like":[9],"scores":{{"like":{like}{more}}}}}'
    return Said(body=text.encode())


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def asked(server: Server) -> Answer:
    with httpx.Client() as http:
        return ask(http, server.url, REQUEST)


def test_scores_are_kept_as_the_text_they_came_in(server: Server) -> None:
    server.say(said("[0.25,5e-1]", ',"love":[1,0]'))
    answer = asked(server)
    assert answer.texts == {"like": b"[0.25,5e-1]", "love": b"[1,0]"}
    assert answer.floats("like") == np.array([0.25, 0.5], dtype=np.float32).tobytes()


def test_another_way_to_write_a_number_is_not_the_same(server: Server) -> None:
    server.say(said("[0.25,0.5]"), said("[0.25,0.50]"))
    assert not asked(server).same(asked(server), ["like"])


def test_a_further_task_does_not_make_the_old_ones_differ(server: Server) -> None:
    server.say(said(), said(more=',"dislike":[0.1,0.2]', generation=2))
    assert asked(server).same(asked(server), ["like"])


def test_traffic_counts_answers_failures_and_scores_that_moved(server: Server) -> None:
    server.say(said())
    expected = asked(server)
    server.say(said(), Said(500, {}), said("[0.25,0.75]"), said(generation=2))
    with Traffic(server.url, REQUEST, expected) as traffic:
        while traffic.seen.answers < 3:
            pass
    assert traffic.seen.moved == 1
    assert len(traffic.seen.failures) == 1
    assert traffic.seen.generations == {1, 2}
