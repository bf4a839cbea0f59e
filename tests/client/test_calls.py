"""What goes over the wire, and what comes back."""

from __future__ import annotations

import pytest

from client.errors import BadRequest, NotFound, Unavailable
from client.requests import Event
from client.results import ScoreResult
from tests.client.conftest import Answer, Driver, Server

SCORED = {
    "request_id": "r1",
    "model": "shop",
    "generation": 3,
    "scores": {"like": [0.25, 0.5]},
    "tasks": {"like": {"version": 0}},
    "degraded": "none",
}
CHANGED = {
    "name": "dislike",
    "version": 1,
    "generation": 4,
    "workers": [{"id": "w1", "state": "serving", "generation": 4}],
    "checks": {"golden_rows": 16},
    "took_ms": 3.5,
}


def test_a_score_comes_back_typed(server: Server, drive: Driver) -> None:
    server.say(Answer(body=SCORED))
    result = drive(server.url, lambda c: c.score(7, [1, 2]))
    assert isinstance(result, ScoreResult)
    assert result.scores == {"like": [0.25, 0.5]}
    assert result.tasks["like"].version == 0


def test_optional_parts_are_sent_only_when_given(server: Server, drive: Driver) -> None:
    server.say(Answer(body=SCORED))
    drive(server.url, lambda c: c.score("u", ["a"]))
    drive(server.url, lambda c: c.score("u", ["a"], tasks=["like"], deadline_ms=900))
    assert server.seen[0].json() == {"user_id": "u", "item_ids": ["a"]}
    assert server.seen[1].json()["tasks"] == ["like"]
    assert server.seen[1].json()["deadline_ms"] == 900


def test_a_field_a_newer_service_adds_is_kept(server: Server, drive: Driver) -> None:
    server.say(Answer(body={**SCORED, "cost": 2}))
    result = drive(server.url, lambda c: c.score(7, [1]))
    assert result.model_extra == {"cost": 2}


def test_events_go_as_one_batch(server: Server, drive: Driver) -> None:
    server.say(Answer(202, {"request_id": "r", "accepted": 1}))
    event: Event = {"user_id": 1, "item_id": 2, "behaviour": "liked", "ts": 3}
    assert drive(server.url, lambda c: c.events([event])).accepted == 1
    assert server.seen[0].json() == {"events": [event]}


def test_a_graft_sends_the_file_as_it_is(server: Server, drive: Driver) -> None:
    server.say(Answer(201, CHANGED))
    result = drive(
        server.url,
        lambda c: c.graft("dislike", b"\x00\xffprompt", activate=False, wait="local"),
        admin_url=server.url,
        token="secret",
    )
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("PUT", "/v1/tasks/dislike", b"\x00\xffprompt")
    assert seen.query == "activate=false&wait=local"
    assert seen.headers["content-type"] == "application/octet-stream"
    assert seen.headers["authorization"] == "Bearer secret"
    assert result.checks == {"golden_rows": 16}


def test_the_token_never_goes_to_the_public_port(server: Server, drive: Driver) -> None:
    server.say(Answer(body=SCORED))
    drive(server.url, lambda c: c.score(1, [2]), admin_url=server.url, token="secret")
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize(("name", "path"), [("a/b", "a%2Fb"), ("a?b", "a%3Fb"), ("a%b", "a%25b")])
def test_no_task_name_leads_to_another_route(
    server: Server, drive: Driver, name: str, path: str
) -> None:
    server.say(Answer(404, {"error": {"code": "unknown_task", "message": "no such task"}}))
    with pytest.raises(NotFound):
        drive(server.url, lambda c: c.task(name))
    assert server.seen[0].path == f"/v1/tasks/{path}"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_is_a_step_in_the_path_is_refused(
    server: Server, drive: Driver, name: str
) -> None:
    with pytest.raises(BadRequest, match="no task's name"):
        drive(server.url, lambda c: c.task(name))
    assert server.seen == []


def test_an_admin_call_without_the_admin_port_is_refused_before_it_is_made(
    server: Server, drive: Driver
) -> None:
    with pytest.raises(BadRequest, match="admin_url"):
        drive(server.url, lambda c: c.workers())
    assert server.seen == []


@pytest.mark.parametrize("body", [b"<html>hello</html>", {"scores": 1}, b""])
def test_an_answer_of_another_form_is_unavailable(
    server: Server, drive: Driver, body: object
) -> None:
    server.say(Answer(200, body))
    with pytest.raises(Unavailable, match="is this a taskgraft service"):
        drive(server.url, lambda c: c.remove("x"), admin_url=server.url)


def test_a_value_json_cannot_hold_is_a_bad_request(server: Server, drive: Driver) -> None:
    with pytest.raises(BadRequest, match="JSON"):
        drive(server.url, lambda c: c.score(1, [2], context={"x": float("nan")}))
    assert server.seen == []


def test_ready_says_no_while_the_service_does(server: Server, drive: Driver) -> None:
    server.say(Answer(503, {"status": "starting", "generation": 0}))
    assert drive(server.url, lambda c: c.ready()) is False
    server.say(Answer(200, {"status": "ready", "generation": 0}))
    assert drive(server.url, lambda c: c.ready()) is True
