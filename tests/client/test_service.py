"""Both clients against the real service on the tiny model: every method, every kind of answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from client import Client
from client.errors import BadRequest, NotFound, Refused, TooLarge, Unauthorised
from client.requests import Canary, Guard, ScoreOptions
from service.parts import open_parts
from tests.client.conftest import Driver
from tests.live_server import SECRET, LiveServer, live_server, settings_for_tests
from tests.service.test_registry import renamed
from tests.service.tiny import BUNDLE, prompt_bytes

Result = TypeVar("Result")
ITEMS = [100, 101, 102]
OPTIONS: ScoreOptions = {"context": {"device": "phone"}}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveServer]:
    settings = settings_for_tests(
        bundle=BUNDLE,
        max_items=10,
        feature_store=f"embedded:{tmp_path / 'features'}",
        task_store=str(tmp_path / "tasks"),
    )
    with live_server(open_parts, settings) as server:
        yield server


class Caller:
    """Asks the live service by either client, as who may graft."""

    def __init__(self, live: LiveServer, drive: Driver, token: str = SECRET) -> None:
        self._live, self._drive, self._token = live, drive, token

    def __call__(self, act: Callable[[Client], Result]) -> Result:
        return self._drive(self._live.public, act, admin_url=self._live.admin, token=self._token)


@pytest.fixture
def ask(live: LiveServer, drive: Driver) -> Caller:
    return Caller(live, drive)


def test_a_score_names_its_tasks_versions_and_model(ask: Caller) -> None:
    result = ask(lambda c: c.score("user-3", ITEMS, **OPTIONS))
    assert set(result.scores) == {"click", "like"}
    assert [len(column) for column in result.scores.values()] == [3, 3]
    assert result.tasks["click"].version == 0
    assert result.degraded == "none"
    assert result.ranking is None


def test_a_ranking_comes_in_falling_order(ask: Caller) -> None:
    result = ask(lambda c: c.score("user-3", ITEMS, rank={"weights": {"click": 1.0}, "top_k": 2}))
    assert result.ranking is not None
    assert len(result.ranking) == 2
    first, second = result.ranking
    assert first.score >= second.score
    assert first.item_id == ITEMS[first.index]


def test_an_event_moves_the_next_score(ask: Caller) -> None:
    before = ask(lambda c: c.score("user-3", ITEMS)).scores
    stored = ask(
        lambda c: c.events([{"user_id": "user-3", "item_id": 101, "behaviour": "clicked", "ts": 5}])
    )
    assert stored.accepted == 1
    assert ask(lambda c: c.score("user-3", ITEMS)).scores != before


def test_a_task_is_grafted_replaced_rolled_back_and_removed(ask: Caller) -> None:
    grafted = ask(lambda c: c.graft("share", prompt_bytes("share")))
    assert (grafted.name, grafted.version) == ("share", 1)
    assert grafted.checks
    assert [worker.generation for worker in grafted.workers] == [grafted.generation]
    shown = ask(lambda c: c.task("share"))
    assert (shown.kind, shown.version, len(shown.versions)) == ("prompt", 1, 1)
    assert shown.parameters > 0
    assert ask(lambda c: c.tasks()).generation == grafted.generation
    removed = ask(lambda c: c.remove("share"))
    assert removed.version is None
    assert removed.generation > grafted.generation
    told = ask(lambda c: c.history("share")).history
    assert [change["action"] for change in told] == ["graft", "remove"]
    assert ask(lambda c: c.history("share", limit=1)).history == told[1:]
    assert ask(lambda c: c.history("share", before=removed.generation)).history == told[:1]
    assert ask(lambda c: c.audit()).audit == told
    assert ask(lambda c: c.audit(limit=1, before=removed.generation)).audit == told[:1]


def test_a_graft_that_is_not_activated_waits_as_a_version(ask: Caller) -> None:
    ask(lambda c: c.graft("share", prompt_bytes("share"), activate=False))
    assert ask(lambda c: c.task("share")).version is None
    activated = ask(lambda c: c.rollback("share", 1))
    assert activated.version == 1


def test_the_same_graft_twice_is_one_version(ask: Caller) -> None:
    first = ask(lambda c: c.graft("share", prompt_bytes("share")))
    second = ask(lambda c: c.graft("share", prompt_bytes("share")))
    assert (second.version, second.generation) == (first.version, first.generation)


def test_a_task_is_routed_and_its_drift_told(ask: Caller) -> None:
    ask(lambda c: c.graft("share", prompt_bytes("share")))
    ask(lambda c: c.graft("share", renamed("share", 1.0), activate=False))
    guard: Guard = {"max_psi": 0.25, "min_rows": 500}
    canary: Canary = {"version": 2, "percent": 100}
    routed = ask(lambda c: c.route("share", canary=canary, guard=guard))
    assert (routed.stable, routed.version, routed.shadow) == (1, 1, None)
    assert ask(lambda c: c.score("user-3", ITEMS)).tasks["share"].version == 2
    shown = ask(lambda c: c.routing("share"))
    assert (shown.canary, shown.guard) == (routed.canary, routed.guard)
    (told,) = ask(lambda c: c.drift("share")).versions
    assert (told.version, told.roles, told.rows) == (2, ["canary"], len(ITEMS))
    alone = ask(lambda c: c.route("share", wait="local"))
    assert (alone.stable, alone.canary) == (1, None)


def test_the_schema_and_the_workers_are_told(ask: Caller) -> None:
    schema = ask(lambda c: c.schema())
    assert (schema.user_id_type, schema.item_id_type) == ("string", "int64")
    assert schema.behaviours == ["clicked", "liked"]
    workers = ask(lambda c: c.workers())
    assert len(workers.workers) == 1
    assert ask(lambda c: c.ready()) is True


def test_a_prompt_under_another_name_is_refused_with_its_reason(ask: Caller) -> None:
    with pytest.raises(Refused) as found:
        ask(lambda c: c.graft("skip", prompt_bytes("share")))
    assert found.value.reason == "wrong_task_name"
    assert found.value.details == {"found": "share", "expected": "skip"}


def test_a_head_cannot_be_removed(ask: Caller) -> None:
    with pytest.raises(Refused) as found:
        ask(lambda c: c.remove("click"))
    assert found.value.reason == "task_conflict"


def test_an_unknown_task_is_not_found(ask: Caller) -> None:
    with pytest.raises(NotFound, match="nobody"):
        ask(lambda c: c.score("user-3", ITEMS, tasks=["nobody"]))
    with pytest.raises(NotFound):
        ask(lambda c: c.task("nobody"))


def test_a_field_of_the_wrong_type_is_a_bad_request_that_says_where(ask: Caller) -> None:
    with pytest.raises(BadRequest, match="item_ids"):
        ask(lambda c: c.score("user-3", ["not a number"]))


def test_too_many_items_are_too_large(ask: Caller) -> None:
    with pytest.raises((TooLarge, BadRequest), match="10"):
        ask(lambda c: c.score("user-3", list(range(11))))


def test_an_unknown_token_is_unauthorised(live: LiveServer, drive: Driver) -> None:
    with pytest.raises(Unauthorised):
        Caller(live, drive, token="tg_wrong")(lambda c: c.workers())


def test_every_error_names_the_request_in_the_servers_log(ask: Caller) -> None:
    with pytest.raises(NotFound) as found:
        ask(lambda c: c.task("nobody"))
    assert found.value.told.status == 404
    assert found.value.told.request_id
