"""The gate: who gets in, and when."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from service.errors import DeadlineExceeded, NotReady, Overloaded
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


class Clock:
    """Moves when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def busy(most: int, turn_s: float, **given: float) -> Gate:
    """A gate that has learned how long a turn takes, and is empty again."""
    clock = Clock()
    gate = Gate(most, given.pop("deadline_s", 1.0), clock=clock, **given)
    gate.open()
    with gate:
        clock.now += turn_s
    return gate


@pytest.mark.parametrize(("turn_s", "room"), [(0.001, 100), (0.01, 50), (0.1, 5), (9.0, 2)])
def test_there_are_as_many_places_as_get_their_turn_in_half_the_deadline(
    turn_s: float, room: int
) -> None:
    gate = busy(100, turn_s)
    with ExitStack() as inside:
        for _ in range(room):
            inside.enter_context(gate)
        with pytest.raises(Overloaded):
            gate.check()


def test_places_come_back_when_turns_are_quick_again() -> None:
    gate = busy(100, 0.1)
    for _ in range(100):
        with gate:
            pass
    assert gate.room == 100


def test_waiting_side_by_side_takes_no_longer_turns() -> None:
    """What waits for a store or runs on many cores at once is not slow."""
    clock = Clock()
    gate = Gate(1000, 1.0, clock=clock)
    gate.open()
    for _ in range(40):
        with ExitStack() as inside:
            for _ in range(100):
                inside.enter_context(gate)
            clock.now += 0.05
    assert gate.room == 1000


def test_refused_requests_do_not_make_the_service_look_quick() -> None:
    gate = busy(100, 0.1)
    for _ in range(100):
        with suppress(KeyError), gate:
            raise KeyError
    assert gate.room == 5


def test_missed_deadlines_take_places_away_also_when_nobody_is_answered() -> None:
    gate = Gate(100, 1.0)
    gate.open()
    for _ in range(40):
        with suppress(DeadlineExceeded), gate, gate.serving((), None):
            raise DeadlineExceeded("no answer within 1000 ms")
    assert gate.room < 5


def test_impossible_deadlines_take_no_places_away() -> None:
    gate = busy(100, 0.001)
    for _ in range(100):
        with suppress(DeadlineExceeded), gate, gate.serving((), 0.001):
            raise DeadlineExceeded("no answer within 1 ms")
    assert gate.room == 100


def test_whose_own_deadline_would_pass_in_the_queue_is_refused_at_once() -> None:
    gate = busy(100, 0.01)
    with gate, gate, gate, gate:
        with pytest.raises(Overloaded, match="30 ms"), gate.serving((), 0.05):
            pass
        with gate.serving((), 0.1):
            pass


def test_a_hot_task_leaves_places_for_the_others() -> None:
    gate = Gate(4, task_share=0.5)
    gate.open()
    with gate, gate.serving(["hot"], None), gate, gate.serving(["hot"], None), gate:
        with pytest.raises(Overloaded, match="2 requests for hot"), gate.serving(["hot"], None):
            pass
        with gate.serving(["cold"], None), gate, gate.serving((), None):
            pass
    with gate, gate.serving(["hot"], None):
        assert gate.in_flight == 1
