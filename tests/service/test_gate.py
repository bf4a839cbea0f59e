"""The gate: who gets in, and when."""

from __future__ import annotations

import pytest

from service.errors import NotReady, Overloaded
from service.gate import Gate


def test_nobody_enters_before_it_opens() -> None:
    gate = Gate(1)
    with pytest.raises(NotReady), gate:
        pass
    gate.open()
    with gate:
        assert gate.in_flight == 1
    assert gate.in_flight == 0


def test_more_than_the_limit_are_turned_away_and_told_when_to_come_back() -> None:
    gate = Gate(1)
    gate.open()
    with gate:
        with pytest.raises(Overloaded, match="1 requests are in flight") as caught, gate:
            pass
        assert caught.value.retry_after_s > 0
        assert gate.in_flight == 1
    with gate:
        assert gate.in_flight == 1


def test_a_failed_request_frees_its_place() -> None:
    gate = Gate(1)
    gate.open()
    with pytest.raises(KeyError), gate:
        raise KeyError
    assert gate.in_flight == 0


def test_draining_serves_on() -> None:
    gate = Gate(1)
    gate.open()
    gate.drain()
    with gate:
        assert gate.state == "draining"


def test_a_draining_gate_never_opens_again() -> None:
    gate = Gate(1)
    gate.drain()
    gate.open()
    assert gate.state == "draining"
