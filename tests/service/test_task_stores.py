"""What every task store promises, kept by a directory, Redis, Valkey and a cluster alike."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import PromptMissing, TaskConflict
from service.redis_task_store import RedisTaskStore
from service.routing import Canary, Guard, Routing, Wanted
from service.task_changes import activate, confirm, graft, propose_graft, propose_route, remove
from service.task_directory import open_task_directory
from service.task_store import Acknowledgement, DesiredState, StoredPrompt, TaskStore
from tests.redis_fleet import RedisCluster
from tests.redis_server import RedisServer

Opener = Callable[[], TaskStore]


@pytest.fixture(params=["directory", "redis", "valkey", "cluster"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the one store anew, as another process would."""
    if request.param == "directory":
        return lambda: open_task_directory(tmp_path / "tasks")
    server: RedisServer | RedisCluster = request.getfixturevalue(f"empty_{request.param}")
    return lambda: RedisTaskStore(server.url)


@pytest.fixture
def store(opened: Opener) -> TaskStore:
    return opened()


def put(store: TaskStore, content: bytes) -> StoredPrompt:
    return StoredPrompt(store.put_prompt(content), len(content), created_at=1.0)


def step(store: TaskStore, content: bytes, task: str = "like") -> DesiredState:
    prompt = put(store, content)
    return store.update(lambda state: graft(state, task, prompt, who="ann"))


def test_a_new_store_wants_nothing(store: TaskStore) -> None:
    assert store.read() == DesiredState()
    assert store.generation() == 0
    assert store.history() == ()


def test_an_update_is_seen_by_every_process(store: TaskStore, opened: Opener) -> None:
    other = opened()
    made = step(store, b"one")
    assert made.generation == other.generation() == 1
    assert other.read() == made
    assert other.prompt(made.tasks["like"].versions[0].sha256) == b"one"


def test_each_update_makes_one_generation_and_tells_who_made_it(store: TaskStore) -> None:
    step(store, b"one")
    step(store, b"two")
    store.update(lambda state: activate(state, "like", 1, who="bob", at=2.0))
    store.update(lambda state: remove(state, "like", who="eve", at=3.0))
    told = [(c.generation, c.who, c.action, c.version) for c in store.history()]
    assert told == [
        (1, "ann", "graft", 1),
        (2, "ann", "graft", 2),
        (3, "bob", "activate", 1),
        (4, "eve", "remove", None),
    ]


def test_a_change_of_nothing_makes_no_generation(store: TaskStore) -> None:
    step(store, b"one")
    store.update(lambda state: activate(state, "like", 1, who="bob", at=2.0))
    assert store.generation() == 1


def test_a_change_that_raises_changes_nothing(store: TaskStore) -> None:
    before = step(store, b"one")
    with pytest.raises(TaskConflict):
        store.update(lambda state: activate(state, "like", 9, who="bob", at=2.0))
    assert store.read() == before
    assert step(store, b"two").generation == 2


def test_a_state_must_not_name_a_prompt_that_is_not_stored(store: TaskStore) -> None:
    missing = StoredPrompt("0" * 64, 1, created_at=1.0)
    with pytest.raises(PromptMissing):
        store.update(lambda state: graft(state, "like", missing, who="ann"))
    assert store.generation() == 0


def test_updates_by_several_threads_follow_one_another(store: TaskStore) -> None:
    def work(name: str) -> None:
        for number in range(10):
            step(store, f"{name}{number}".encode(), task=name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: task.active for name, task in store.read().tasks.items()} == {
        "a": 10,
        "b": 10,
        "c": 10,
    }
    assert [c.generation for c in store.history()] == list(range(1, 31))


@pytest.mark.parametrize("name", ["0" * 64, "", "../lock", "0" * 63, "0" * 64 + "\n", "A" * 64])
def test_a_digest_that_names_no_prompt_is_missing(store: TaskStore, name: str) -> None:
    with pytest.raises(PromptMissing):
        store.prompt(name)


def test_a_prompt_is_stored_once_whoever_puts_it(store: TaskStore, opened: Opener) -> None:
    digest = store.put_prompt(b"one")
    assert opened().put_prompt(b"one") == digest == hashlib.sha256(b"one").hexdigest()
    assert store.prompt(digest) == b"one"


def test_a_proposal_makes_a_generation(store: TaskStore) -> None:
    prompt = put(store, b"one")
    state = store.update(lambda state: propose_graft(state, "like", prompt, who="ann"))
    assert state.generation == 1
    assert store.read().candidates == state.candidates
    assert state.candidates["like"].version == 1


def test_a_routing_is_proposed_confirmed_and_found_by_whoever_opens_the_store(
    store: TaskStore, opened: Opener
) -> None:
    for content in (b"one", b"two", b"three"):
        step(store, content)
    wanted = Wanted(3, Routing(Canary(1, 2.5), 2, Guard(0.25, 0.6, 500)))
    proposed = store.update(lambda state: propose_route(state, wanted, "like", "ann", 6.0))
    candidate = opened().read().candidates["like"]
    assert candidate == proposed.candidates["like"]
    store.update(lambda state: confirm(state, "like", candidate, "ann", 7.0))
    found = opened().read()
    assert found.tasks["like"].active == 3
    assert found.tasks["like"].routing == Routing(Canary(1, 2.5), 2, Guard(0.25, 0.6, 500), 6.0)
    assert opened().history()[-1].detail.startswith("canary 1 at 2.5 %, shadow 2")


# --- acknowledgements ---------------------------------------------------------------------------

ONE = Acknowledgement("one", 3, "serving")
TWO = Acknowledgement("two", 2, "behind", "it is damaged", {"like": "it is too large"})


def test_the_last_word_of_each_worker_is_heard_by_all(store: TaskStore, opened: Opener) -> None:
    store.acknowledge(Acknowledgement("one", 2, "serving"), lease_s=60)
    for told in (TWO, ONE):
        store.acknowledge(told, lease_s=60)
    assert opened().acknowledgements() == (ONE, TWO)


def test_a_worker_that_is_silent_too_long_counts_no_more(store: TaskStore) -> None:
    store.acknowledge(ONE, lease_s=0.05)
    store.acknowledge(TWO, lease_s=60)
    end = time.monotonic() + 20
    while store.acknowledgements() != (TWO,):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_worker_that_ends_is_forgotten_at_once(store: TaskStore) -> None:
    store.acknowledge(ONE, lease_s=60)
    store.forget("one")
    store.forget("never there")
    assert store.acknowledgements() == ()


def test_acknowledging_makes_no_generation(store: TaskStore) -> None:
    step(store, b"one")
    store.acknowledge(ONE, lease_s=60)
    assert store.generation() == 1
