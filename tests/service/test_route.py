"""Whom a canary answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.route import place

USERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PERCENTS = st.floats(0, 100)


@given(USERS, PERCENTS, PERCENTS)
def test_a_larger_percentage_puts_nobody_out(user: str, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert not (place("like", 2, user) < less and place("like", 2, user) >= more)


@given(USERS)
def test_all_means_everybody_and_none_nobody(user: str) -> None:
    assert 0 <= place("like", 2, user) < 100


def test_a_user_stays_where_it_was_put_by_any_process_of_any_release() -> None:
    assert [round(place("like", 2, user), 6) for user in ("user-3", "17", "")] == PLACES


@given(st.integers(1, 99), st.integers(1, 1000))
def test_the_share_of_users_is_the_percentage(percent: int, version: int) -> None:
    """Within five standard deviations of a fair draw."""
    users = 2000
    inside = sum(place("like", version, str(user)) < percent for user in range(users))
    p = percent / 100
    assert abs(inside - users * p) < 5 * (users * p * (1 - p)) ** 0.5


def test_two_canaries_and_two_tasks_draw_their_users_independently() -> None:
    users = range(4000)
    first = {user for user in users if place("like", 2, str(user)) < 50}
    for task, version in (("like", 3), ("buy", 2)):
        other = {user for user in users if place(task, version, str(user)) < 50}
        assert 0.44 < len(first & other) / len(first) < 0.56


PLACES = [53.248078, 65.907126, 67.734909]
