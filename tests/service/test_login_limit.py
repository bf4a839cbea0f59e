"""Failed logins: how many, and how much is remembered of them."""

from __future__ import annotations

import pytest

from service.errors import TooManyFailures
from service.login_limit import LoginLimit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(limit: LoginLimit, address: str, times: int) -> int:
    waits = []
    for _ in range(times):
        try:
            limit.failed(address)
        except TooManyFailures as err:
            waits.append(err.retry_after_s)
    assert all(0 < wait_s <= 6 for wait_s in waits)
    return len(waits)


def test_ten_failures_at_once_are_told_so_the_next_are_sent_away() -> None:
    limit = LoginLimit(Clock())
    assert refused(limit, "10.0.0.1", 10) == 0
    assert refused(limit, "10.0.0.1", 5) == 5
    assert refused(limit, "10.0.0.2", 10) == 0


def test_each_six_seconds_forgive_one_also_for_who_goes_on_trying() -> None:
    clock = Clock()
    limit = LoginLimit(clock)
    refused(limit, "10.0.0.1", 100)
    clock.now += 6.1
    assert refused(limit, "10.0.0.1", 3) == 2
    clock.now += 600
    assert refused(limit, "10.0.0.1", 10) == 0


def test_addresses_of_one_ipv6_site_are_one_caller() -> None:
    limit = LoginLimit(Clock())
    assert sum(refused(limit, f"2001:db8::{n:x}", 1) for n in range(1, 21)) == 10
    assert refused(limit, "2001:db8:0:1::1", 1) == 0


@pytest.mark.parametrize("form", ["10.{}.{}.1", "not an address {} {}"])
def test_memory_is_bounded_whoever_calls(form: str) -> None:
    limit = LoginLimit(Clock())
    for n in range(6000):
        limit.failed(form.format(n // 200, n % 200))
    assert len(limit) == 4096
