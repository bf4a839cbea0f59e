"""What rounds tell: ratios are taken side by side, growth is found, goals judge medians."""

from __future__ import annotations

import pytest

from benchmarks.rounds import Goal, Rounds, line, percentile, worst_doubling


def test_a_ratio_compares_what_shared_a_round() -> None:
    slow_second_minute = Rounds.of([10.0, 1.0]), Rounds.of([5.0, 0.5])
    assert slow_second_minute[0].over(slow_second_minute[1]).values == (2.0, 2.0)


def test_rounds_of_different_number_do_not_compare() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Rounds.of([1.0, 2.0]).over(Rounds.of([1.0]))


def test_a_measure_without_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        Rounds.of([])


def test_a_figure_is_the_median_with_the_lowest_and_the_highest_round() -> None:
    figure = Rounds.of([3.0, 1.0, 2.5]).figure("a", "s", "make it", Goal("<=", 2.0))
    assert (figure.value, figure.spread) == (2.5, (1.0, 3.0))
    assert (figure.goal, figure.holds) == ("<= 2", False)


@pytest.mark.parametrize(("sign", "value", "holds"), [("<=", 2.0, True), (">=", 1.9, False)])
def test_a_goal_names_the_side_that_is_wanted(sign: str, value: float, *, holds: bool) -> None:
    assert Goal("<=" if sign == "<=" else ">=", 2.0).holds(value) is holds


def test_a_line_is_found_with_what_is_fixed_and_what_each_costs() -> None:
    found = line([1, 10, 100], [1.2, 3.0, 21.0])
    assert found.fixed == pytest.approx(1.0)
    assert found.each == pytest.approx(0.2)
    assert found.worst == pytest.approx(0.0, abs=1e-9)


def test_a_cost_that_grows_with_the_square_is_off_the_line() -> None:
    assert line([1, 10, 100], [1.0, 100.0, 10_000.0]).worst > 0.5


def test_the_worst_doubling_is_the_one_that_counts() -> None:
    assert worst_doubling([1, 2, 4], [1.0, 1.1, 2.2]) == pytest.approx(2.0)


def test_sizes_of_which_none_is_twice_another_tell_of_no_doubling() -> None:
    with pytest.raises(ValueError, match="twice another"):
        worst_doubling([1, 3], [1.0, 2.0])


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 3.0
    assert percentile([4.0, 1.0], 0.99) == 4.0
