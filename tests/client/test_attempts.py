"""Which calls are made again, and until when."""

from __future__ import annotations

import inspect

import pytest

import client
from client.attempts import MAX_TRIES, Attempts
from client.errors import BadRequest, ClientError, Deadline, Overloaded, Unavailable
from tests.client.conftest import Answer, Driver, Server
from tests.client.test_calls import CHANGED, SCORED

BUSY = Answer(503, {"error": {"code": "not_ready", "message": "starting"}})


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def attempts(clock: Clock, *, timeout_s: float = 10.0, within_s: float = 10.0) -> Attempts:
    return Attempts(repeatable=True, timeout_s=timeout_s, within_s=within_s, clock=clock)


def test_a_score_is_made_again_until_it_succeeds(server: Server, drive: Driver) -> None:
    server.say(BUSY, BUSY, Answer(body=SCORED))
    assert drive(server.url, lambda c: c.score(1, [2])).generation == 3
    assert len(server.seen) == 3


def test_tries_are_bounded(server: Server, drive: Driver) -> None:
    server.say(BUSY)
    with pytest.raises(Unavailable, match="starting"):
        drive(server.url, lambda c: c.tasks())
    assert len(server.seen) == MAX_TRIES


@pytest.mark.parametrize("status", [400, 404, 422, 504])
def test_what_would_fail_again_is_not_made_again(
    server: Server, drive: Driver, status: int
) -> None:
    server.say(Answer(status, {"error": {"code": "x", "message": "no"}}))
    with pytest.raises(ClientError):
        drive(server.url, lambda c: c.score(1, [2]))
    assert len(server.seen) == 1


def test_a_rollback_is_made_again_only_to_a_named_version(server: Server, drive: Driver) -> None:
    server.say(BUSY)
    with pytest.raises(Unavailable):
        drive(server.url, lambda c: c.rollback("x"), admin_url=server.url)
    assert len(server.seen) == 1
    server.say(BUSY, Answer(body=CHANGED))
    drive(server.url, lambda c: c.rollback("x", 1), admin_url=server.url)
    assert len(server.seen) == 3


def test_a_removal_is_never_made_again(server: Server, drive: Driver) -> None:
    server.say(BUSY)
    with pytest.raises(Unavailable):
        drive(server.url, lambda c: c.remove("x"), admin_url=server.url)
    assert len(server.seen) == 1


def test_a_graft_is_made_again(server: Server, drive: Driver) -> None:
    """The service knows a prompt by its digest, so a second arrival changes nothing."""
    server.say(BUSY, Answer(201, CHANGED))
    drive(server.url, lambda c: c.graft("x", b"1"), admin_url=server.url)
    assert len(server.seen) == 2


def test_no_pause_outlasts_the_time_of_the_call(server: Server, drive: Driver) -> None:
    server.say(Answer(429, {"error": {"code": "overloaded"}}, {"retry-after": "60"}))
    with pytest.raises(Overloaded):
        drive(server.url, lambda c: c.score(1, [2]), timeout_s=30)
    assert len(server.seen) == 1


def test_retry_after_is_the_least_pause() -> None:
    pause_s = attempts(Clock()).pause_s(Overloaded("busy", retry_after_s=2.0))
    assert 2.0 <= pause_s < 2.1


def test_a_try_never_begins_after_the_requests_own_deadline() -> None:
    clock = Clock()
    tries = attempts(clock, timeout_s=10.0, within_s=1.0)
    clock.now_s += 1.0
    with pytest.raises(Unavailable):
        tries.pause_s(Unavailable("starting"))


def test_each_try_gets_the_time_that_is_left() -> None:
    clock = Clock()
    tries = attempts(clock, timeout_s=10.0)
    clock.now_s += 4.0
    assert tries.left_s() == 6.0
    clock.now_s += 6.0
    with pytest.raises(Deadline, match="10 s"):
        tries.left_s()


def test_an_error_of_the_caller_is_raised_as_it_came() -> None:
    error = BadRequest("no")
    with pytest.raises(BadRequest) as found:
        attempts(Clock()).pause_s(error)
    assert found.value is error


def test_both_clients_have_the_same_methods() -> None:
    def surface(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(member)
            for name, member in vars(kind).items()
            if inspect.isfunction(member) and not name.startswith("_")
        }

    assert surface(client.Client) == surface(client.AsyncClient)


def test_the_package_exports_what_it_says() -> None:
    exported = {name for name, value in vars(client).items() if inspect.isclass(value)}
    assert exported == set(client.__all__)
