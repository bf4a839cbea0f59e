"""When the breaker lets a call through."""

from __future__ import annotations

import asyncio

import pytest

from service.breaker import Breaker
from service.errors import StoreUnavailable
from tests.service.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(slow_s=0.5, rest_s=1.0, window=4, clock=clock)


def state(breaker: Breaker) -> str:
    return breaker.state


def fail(breaker: Breaker) -> None:
    with pytest.raises(StoreUnavailable, match="away"), breaker.guard():
        raise StoreUnavailable("away")


def succeed(breaker: Breaker) -> None:
    with breaker.guard():
        pass


def refused(breaker: Breaker) -> bool:
    try:
        succeed(breaker)
    except StoreUnavailable:
        return True
    return False


def test_half_of_the_last_calls_failing_opens_it(breaker: Breaker) -> None:
    fail(breaker)
    succeed(breaker)
    assert state(breaker) == "closed"
    fail(breaker)
    assert state(breaker) == "open"
    assert refused(breaker)


def test_failures_that_have_left_the_window_are_forgotten(breaker: Breaker) -> None:
    fail(breaker)
    for _ in range(3):
        succeed(breaker)
    succeed(breaker)
    fail(breaker)
    assert state(breaker) == "closed"


def test_slow_calls_open_it(breaker: Breaker, clock: Clock) -> None:
    for _ in range(2):
        with breaker.guard():
            clock.now += 0.6
    assert state(breaker) == "open"


@pytest.mark.parametrize("given_up", [False, True])
def test_calls_that_one_stall_made_late_count_as_one(
    *, given_up: bool, breaker: Breaker, clock: Clock
) -> None:
    for stalls in (1, 2):
        calls = [breaker.guard() for _ in range(8)]
        for call in calls:
            call.__enter__()
        clock.now += 0.6
        for call in calls:
            if given_up:
                call.__exit__(StoreUnavailable, StoreUnavailable("no answer in time"), None)
            else:
                call.__exit__(None, None, None)
        assert state(breaker) == ("closed" if stalls == 1 else "open")


def test_quick_failures_at_one_moment_count_each(breaker: Breaker) -> None:
    with breaker.guard():
        fail(breaker)
        fail(breaker)
    assert state(breaker) == "open"


def test_a_good_probe_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker)
    clock.now += 1.0
    assert state(breaker) == "half_open"
    succeed(breaker)
    assert state(breaker) == "closed"
    fail(breaker)
    assert state(breaker) == "closed"  # old failures do not count again


def test_a_bad_probe_opens_it_for_another_rest(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker)
    clock.now += 1.0
    fail(breaker)
    clock.now += 0.9
    assert refused(breaker)
    clock.now += 0.1
    assert not refused(breaker)


def test_there_is_one_probe_at_a_time(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker)
    clock.now += 1.0
    with breaker.guard():
        assert refused(breaker)
    assert not refused(breaker)


def test_a_cancelled_probe_leaves_room_for_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    fail(breaker)
    clock.now += 1.0
    with pytest.raises(asyncio.CancelledError), breaker.guard():
        raise asyncio.CancelledError
    assert state(breaker) == "half_open"
    succeed(breaker)
    assert state(breaker) == "closed"


def test_cancelled_calls_do_not_open_it(breaker: Breaker) -> None:
    for _ in range(10):
        with pytest.raises(asyncio.CancelledError), breaker.guard():
            raise asyncio.CancelledError
    assert state(breaker) == "closed"


def test_calls_that_end_after_it_opened_have_no_say(breaker: Breaker) -> None:
    with breaker.guard():
        fail(breaker)
        fail(breaker)
    assert state(breaker) == "open"
