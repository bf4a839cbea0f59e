"""What the steps from one wanted state to the next do, without any store."""

from __future__ import annotations

import pytest

from service.errors import TaskConflict, UnknownTask
from service.task_changes import (
    KEPT_VERSIONS,
    activate,
    confirm,
    expire,
    graft,
    propose,
    propose_graft,
    remove,
    withdraw,
)
from service.task_store import DesiredState, StoredPrompt

PROMPT = StoredPrompt("a" * 64, size_bytes=10, created_at=5.0, note={"auc": 0.7})


def grafted(times: int = 1, task: str = "like") -> DesiredState:
    state = DesiredState()
    for _ in range(times):
        state = graft(state, task, PROMPT, who="ann")
    return state


def test_a_graft_scores_at_once() -> None:
    (version,) = grafted().tasks["like"].versions
    assert grafted().tasks["like"].active == version.version == 1
    assert (version.sha256, version.size_bytes, version.note) == ("a" * 64, 10, {"auc": 0.7})


def test_a_graft_that_is_not_activated_leaves_the_old_version_scoring() -> None:
    state = graft(grafted(), "like", PROMPT, who="ann", active=False)
    assert state.tasks["like"].active == 1
    assert [v.version for v in state.tasks["like"].versions] == [1, 2]
    assert graft(DesiredState(), "like", PROMPT, "ann", active=False).tasks["like"].active is None


def test_a_graft_touches_no_other_task() -> None:
    before = grafted(task="like")
    after = graft(before, "buy", PROMPT, who="ann")
    assert after.tasks["like"] is before.tasks["like"]
    assert "buy" not in before.tasks


def test_an_old_version_can_score_again() -> None:
    assert activate(grafted(3), "like", 1, who="ann", at=6.0).tasks["like"].active == 1


def test_activating_what_is_active_is_no_change() -> None:
    state = grafted()
    assert activate(state, "like", 1, who="ann", at=6.0) is state


def test_a_version_that_is_not_there_cannot_score() -> None:
    with pytest.raises(TaskConflict, match="no version 4; it has 1, 2, 3"):
        activate(grafted(3), "like", 4, who="ann", at=6.0)


def test_an_unknown_task_can_neither_score_nor_be_removed() -> None:
    with pytest.raises(UnknownTask, match="buy"):
        activate(grafted(), "buy", 1, who="ann", at=6.0)
    with pytest.raises(UnknownTask, match="buy"):
        remove(grafted(), "buy", who="ann", at=6.0)


def test_version_numbers_never_come_twice() -> None:
    state = remove(grafted(3), "like", who="ann", at=6.0)
    assert state.tasks == {}
    assert graft(state, "like", PROMPT, who="ann").tasks["like"].active == 4


def test_the_newest_versions_stay_and_the_one_that_scores() -> None:
    state = activate(grafted(3), "like", 2, who="ann", at=6.0)
    for _ in range(KEPT_VERSIONS):
        state = graft(state, "like", PROMPT, who="ann", active=False)
    versions = [v.version for v in state.tasks["like"].versions]
    assert versions == [2, *range(4, KEPT_VERSIONS + 4)]


def test_every_step_says_who_did_what_and_when() -> None:
    state = activate(grafted(2), "like", 1, who="bob", at=6.0)
    state = remove(state, "like", who="eve", at=7.0)
    told = [(c.who, c.at, c.action, c.task, c.version) for c in state.changes]
    assert told == [
        ("ann", 5.0, "graft", "like", 1),
        ("ann", 5.0, "graft", "like", 2),
        ("bob", 6.0, "activate", "like", 1),
        ("eve", 7.0, "remove", "like", None),
    ]


# --- candidates: loaded by all, scoring nowhere yet ---------------------------------------------


def test_a_proposed_version_does_not_score_until_it_is_confirmed() -> None:
    proposed = propose_graft(grafted(), "like", PROMPT, who="ann")
    assert (proposed.tasks["like"].active, proposed.candidates["like"].version) == (1, 2)
    confirmed = confirm(proposed, "like", proposed.candidates["like"], who="ann", at=6.0)
    assert (confirmed.tasks["like"].active, confirmed.candidates) == (2, {})
    assert [c.action for c in confirmed.changes] == ["graft", "propose", "graft"]


def test_a_withdrawn_graft_leaves_the_task_as_it_was_and_its_number_never_comes_back() -> None:
    for before in (grafted(), DesiredState()):
        proposed = propose_graft(before, "like", PROMPT, who="ann")
        candidate = proposed.candidates["like"]
        number = candidate.version
        after = withdraw(proposed, "like", candidate, who="ann", at=6.0)
        assert (after.tasks, after.candidates) == (before.tasks, {})
        assert graft(after, "like", PROMPT, "ann").tasks["like"].versions[-1].version == number + 1


def test_a_withdrawn_rollback_keeps_the_version_it_named() -> None:
    before = grafted(2)
    proposed = propose(before, "like", 1, who="ann", at=6.0)
    assert proposed.tasks == before.tasks
    candidate = proposed.candidates["like"]
    assert withdraw(proposed, "like", candidate, who="ann", at=6.0).tasks == before.tasks


def test_proposing_what_scores_is_no_change() -> None:
    assert propose(state := grafted(), "like", 1, who="ann", at=6.0) is state


def test_of_two_proposals_for_a_task_the_later_wins_and_the_earlier_is_told() -> None:
    one = propose_graft(grafted(), "like", PROMPT, "ann")
    both = propose_graft(one, "like", PROMPT, "bob")
    earlier, later = one.candidates["like"], both.candidates["like"]
    with pytest.raises(TaskConflict, match="changed by another call"):
        confirm(both, "like", earlier, who="ann", at=6.0)
    assert withdraw(both, "like", earlier, who="ann", at=6.0) is both
    assert confirm(both, "like", later, who="bob", at=6.0).tasks["like"].active == 3


def test_a_removed_task_cannot_be_confirmed() -> None:
    proposed = propose_graft(grafted(), "like", PROMPT, who="ann")
    gone = remove(proposed, "like", "eve", at=6.0)
    with pytest.raises(TaskConflict):
        confirm(gone, "like", proposed.candidates["like"], who="ann", at=7.0)


def test_a_proposal_whose_proposer_is_gone_expires_alone() -> None:
    proposed = propose(propose_graft(grafted(2), "buy", PROMPT, "ann"), "like", 1, "ann", at=9.0)
    kept = expire(proposed, before=7.0)
    assert list(kept.candidates) == ["like"]
    assert kept.tasks == {"like": proposed.tasks["like"]}
    assert expire(kept, before=7.0) is kept


def test_a_task_that_is_only_proposed_is_none_yet() -> None:
    proposed = propose_graft(grafted(1), "buy", PROMPT, "ann")
    assert proposed.only_proposed("buy")
    assert not proposed.only_proposed("like")
    assert not confirm(proposed, "buy", proposed.candidates["buy"], "ann", at=6.0).only_proposed(
        "buy"
    )
    again = propose_graft(grafted(1), "like", PROMPT, "ann")
    assert not again.only_proposed("like")
