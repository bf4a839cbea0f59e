"""What routing does to the wanted state, without any store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.errors import InvalidField, TaskConflict, UnknownTask
from service.routing import Canary, Guard, Routing, Wanted
from service.task_changes import (
    KEPT_VERSIONS,
    activate,
    confirm,
    graft,
    propose,
    propose_route,
    remove,
    route,
    stop_canary,
    withdraw,
)
from service.task_store import DesiredState
from tests.service.test_task_changes import PROMPT, grafted

GUARD = Guard(max_psi=0.25, min_rows=100)


def wanted(
    canary: int | None = None,
    shadow: int | None = None,
    percent: float = 10,
    *,
    stable: int | None = None,
    guard: Guard | None = None,
) -> Wanted:
    chosen = None if canary is None else Canary(canary, percent)
    return Wanted(stable, Routing(chosen, shadow, guard))


def routed(state: DesiredState, what: Wanted, at: float = 6.0) -> DesiredState:
    return route(state, what, "like", "ann", at)


def routing(state: DesiredState) -> Routing:
    return state.tasks["like"].routing


def test_a_routing_moves_the_stable_version_and_names_the_others() -> None:
    state = routed(grafted(4), wanted(4, 3, stable=2, guard=GUARD))
    assert state.tasks["like"].active == 2
    assert routing(state) == Routing(Canary(4, 10), 3, GUARD, since=6.0)
    assert state.tasks["like"].held == {2, 3, 4}
    assert state.changes[-1].action == "route"
    assert "canary 4 at 10 %, shadow 3" in state.changes[-1].detail


def test_without_a_stable_version_the_present_one_stays() -> None:
    assert routed(grafted(2), wanted(1)).tasks["like"].active == 2
    idle = graft(DesiredState(), "like", PROMPT, "ann", active=False)
    with pytest.raises(TaskConflict, match="name the stable one"):
        routed(idle, wanted(shadow=1))


def test_the_same_routing_again_is_no_change() -> None:
    state = routed(grafted(2), wanted(1, guard=GUARD))
    assert routed(state, wanted(1, guard=GUARD), at=9.0) is state
    alone = grafted(2)
    assert routed(alone, wanted()) is alone


def test_what_is_compared_goes_on_while_only_shares_and_limits_change() -> None:
    state = routed(grafted(3), wanted(1))
    assert routing(routed(state, wanted(1, percent=50, guard=GUARD), at=9.0)).since == 6.0
    assert routing(routed(state, wanted(2, stable=3), at=9.0)).since == 9.0
    assert routing(routed(state, wanted(1, stable=2), at=9.0)).since == 9.0


def test_a_routing_that_contradicts_itself_is_refused_where_it_does() -> None:
    for what, where in (
        (wanted(2), "canary.version"),
        (wanted(1, stable=1), "canary.version"),
        (wanted(shadow=2), "shadow"),
        (wanted(shadow=1, guard=GUARD), "guard"),
    ):
        with pytest.raises(InvalidField) as caught:
            routed(grafted(2), what)
        assert caught.value.where == where


def test_a_version_that_is_not_there_can_take_no_part() -> None:
    for what in (wanted(9), wanted(shadow=9), wanted(1, stable=9)):
        with pytest.raises(TaskConflict, match="no version 9; it has 1, 2"):
            routed(grafted(2), what)
    with pytest.raises(UnknownTask):
        route(grafted(), wanted(), "buy", "ann", 6.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: graft(state, "like", PROMPT, "bob"),
        lambda state: activate(state, "like", 2, "bob", 7.0),
        lambda state: activate(state, "like", 1, "bob", 7.0),
        lambda state: routed(state, wanted()),
    ],
)
def test_whatever_scores_for_everybody_ends_the_routing(
    change: Callable[[DesiredState], DesiredState],
) -> None:
    assert routing(change(routed(grafted(3), wanted(1, 2)))) == Routing()


def test_a_version_that_waits_and_a_removed_task_leave_no_routing_behind() -> None:
    state = routed(grafted(3), wanted(1, 2))
    assert routing(graft(state, "like", PROMPT, "bob", active=False)) == routing(state)
    again = graft(remove(state, "like", "bob", 7.0), "like", PROMPT, "bob")
    assert routing(again) == Routing()


def test_versions_that_see_traffic_are_never_pruned() -> None:
    state = routed(grafted(3), wanted(1, 2))
    for _ in range(KEPT_VERSIONS + 5):
        state = graft(state, "like", PROMPT, who="ann", active=False)
    kept = [v.version for v in state.tasks["like"].versions]
    assert kept[:3] == [1, 2, 3]
    assert len(kept) == KEPT_VERSIONS + 3


def test_a_proposed_routing_moves_nobody_until_it_is_confirmed() -> None:
    before = grafted(3)
    proposed = propose_route(before, wanted(1, 2), "like", "ann", 6.0)
    candidate = proposed.candidates["like"]
    assert proposed.tasks == before.tasks
    assert candidate.held == {1, 2, 3}
    confirmed = confirm(proposed, "like", candidate, "ann", 7.0)
    assert confirmed.tasks == routed(before, wanted(1, 2)).tasks
    assert [c.action for c in confirmed.changes][-2:] == ["propose", "route"]
    assert withdraw(proposed, "like", candidate, "ann", 7.0).tasks == before.tasks
    assert propose_route(confirmed, wanted(1, 2), "like", "ann", 8.0) is confirmed


def test_of_two_proposals_for_one_stable_version_only_the_later_can_be_confirmed() -> None:
    one = propose_route(grafted(3), wanted(1), "like", "ann", 6.0)
    both = propose_route(one, wanted(2), "like", "bob", 7.0)
    with pytest.raises(TaskConflict, match="changed by another call"):
        confirm(both, "like", one.candidates["like"], "ann", 8.0)
    assert withdraw(both, "like", one.candidates["like"], "ann", 8.0) is both


def test_a_proposal_to_score_alone_what_is_stable_already_ends_the_routing() -> None:
    state = routed(grafted(2), wanted(1))
    proposed = propose(state, "like", 2, "ann", 7.0)
    confirmed = confirm(proposed, "like", proposed.candidates["like"], "ann", 8.0)
    assert (confirmed.tasks["like"].active, routing(confirmed)) == (2, Routing())


def test_the_guard_takes_the_canary_away_once_and_says_why() -> None:
    state = routed(grafted(3), wanted(1, 2, guard=GUARD))
    stopped = stop_canary(state, "like", routing(state), "psi 0.3 is over 0.25", 7.0)
    assert routing(stopped) == Routing(shadow=2, since=6.0)
    assert stopped.tasks["like"].active == 3
    told = stopped.changes[-1]
    assert (told.who, told.action, told.detail) == (
        "guard", "route", "canary 1 taken away: psi 0.3 is over 0.25",
    )  # fmt: skip
    assert stop_canary(stopped, "like", routing(state), "again", 8.0) is stopped


def test_the_guard_stops_no_canary_but_the_one_it_judged() -> None:
    judged = routing(routed(grafted(3), wanted(1, guard=GUARD)))
    for other in (
        grafted(3),
        remove(grafted(3), "like", "bob", 7.0),
        routed(grafted(3), wanted(2, guard=GUARD)),
        routed(grafted(3), wanted(1, guard=Guard(max_psi=0.5))),
    ):
        assert stop_canary(other, "like", judged, "too far", 8.0) is other
