"""A task store in a directory: what was committed stays, whoever dies, and damage is named."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import stat
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from service.errors import CorruptStore, StoreUnavailable
from service.task_changes import confirm, graft, propose_graft
from service.task_directory import TaskDirectory, open_task_directory
from service.task_store import DesiredState, StoredPrompt

P = ParamSpec("P")
R = TypeVar("R")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> TaskDirectory:
    return open_task_directory(tmp_path / "tasks")


def put(store: TaskDirectory, content: bytes) -> StoredPrompt:
    return StoredPrompt(store.put_prompt(content), len(content), created_at=1.0)


def step(store: TaskDirectory, content: bytes, task: str = "like") -> DesiredState:
    prompt = put(store, content)
    return store.update(lambda state: graft(state, task, prompt, who="ann"))


def root_of(tmp_path: Path) -> Path:
    return tmp_path / "tasks"


# --- the lock -----------------------------------------------------------------------------------


def test_a_lock_that_is_never_freed_is_unavailable(
    store: TaskDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.task_directory._LOCK_WAIT_S", 0.05)

    def inside(state: DesiredState) -> DesiredState:
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            step(store, b"two")
        return state

    store.update(inside)


# --- prompts ------------------------------------------------------------------------------------


def test_a_prompt_is_stored_once_and_read_only(store: TaskDirectory, tmp_path: Path) -> None:
    digest = store.put_prompt(b"one")
    assert store.put_prompt(b"one") == digest == hashlib.sha256(b"one").hexdigest()
    (path,) = (root_of(tmp_path) / "prompts").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_a_damaged_prompt_is_refused_and_mended_by_putting_it_again(
    store: TaskDirectory, tmp_path: Path
) -> None:
    digest = store.put_prompt(b"one")
    path = root_of(tmp_path) / "prompts" / digest
    path.chmod(0o600)
    path.write_bytes(b"two")
    with pytest.raises(CorruptStore, match="graft the file again"):
        store.prompt(digest)
    store.put_prompt(b"one")
    assert store.prompt(digest) == b"one"


def test_garbage_is_swept_at_open_once_it_is_old(store: TaskDirectory, tmp_path: Path) -> None:
    named = step(store, b"named").tasks["like"].versions[0].sha256
    orphan, placed = store.put_prompt(b"orphan"), store.put_prompt(b"just placed")
    prompts = root_of(tmp_path) / "prompts"
    (prompts / f"{orphan}.writing").write_bytes(b"half")
    (prompts / "README").write_bytes(b"not ours to remove")
    long_ago = time.time() - 7200
    for path in prompts.iterdir():
        os.utime(path, (long_ago, long_ago))
    store.put_prompt(b"just placed")
    open_task_directory(root_of(tmp_path))
    assert {path.name for path in prompts.iterdir()} == {named, placed, "README"}


def test_states_do_not_pile_up(store: TaskDirectory, tmp_path: Path) -> None:
    for number in range(20):
        step(store, bytes([number]))
        assert len(list((root_of(tmp_path) / "states").iterdir())) <= 16
    open_task_directory(root_of(tmp_path))
    assert len(list((root_of(tmp_path) / "states").iterdir())) == 8


# --- damage -------------------------------------------------------------------------------------


def flip(root: Path) -> None:
    path = root / "current"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.resolve().chmod(0o600)
    path.write_bytes(content)


def truncate(root: Path) -> None:
    (root / "current").resolve().chmod(0o600)
    os.truncate(root / "current", 10)


def lose_state(root: Path) -> None:
    (root / "current").resolve().unlink()


def lose_link(root: Path) -> None:
    (root / "current").unlink()


def strange_link(root: Path) -> None:
    (root / "current").unlink()
    (root / "current").symlink_to("lock")


def no_link(root: Path) -> None:
    (root / "current").unlink()
    (root / "current").write_bytes(b"{}")


def newer(root: Path) -> None:
    rewrite(root, b'format_version":2', b'format_version":3')


def rewrite(root: Path, old: bytes, new: bytes) -> None:
    content = (root / "current").read_bytes()
    assert old in content
    content = content.replace(old, new, 1)
    name = f"states/{1:012d}-{hashlib.sha256(content).hexdigest()}.json"
    (root / name).write_bytes(content)
    (root / "current").unlink()
    (root / "current").symlink_to(name)


def test_a_state_from_before_tasks_had_a_routing_is_read_and_goes_on(
    store: TaskDirectory, tmp_path: Path
) -> None:
    before = step(store, b"one")
    rewrite(
        root_of(tmp_path), b',"routing":{"canary":null,"shadow":null,"guard":null,"since":0.0}', b""
    )
    rewrite(root_of(tmp_path), b'format_version":2', b'format_version":1')
    again = open_task_directory(root_of(tmp_path))
    assert again.read() == before
    assert step(again, b"two").generation == 2


def richer(root: Path) -> None:
    """As a newer program might write it that forgot to count its format up."""
    rewrite(root, b'"routing":{', b'"routing":{"paused":true,')


DAMAGES = [flip, truncate, lose_state, lose_link, strange_link, no_link, newer, richer]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_named_and_never_taken_for_an_empty_one(
    store: TaskDirectory, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    step(store, b"one")
    damage(root_of(tmp_path))
    with pytest.raises(CorruptStore, match="the task store"):
        open_task_directory(root_of(tmp_path))
    with pytest.raises(CorruptStore, match="the task store"):
        TaskDirectory(root_of(tmp_path)).read()


@pytest.mark.parametrize("content", [b"x", b""])
def test_a_damaged_log_refuses_the_history_and_nothing_else(
    store: TaskDirectory, tmp_path: Path, content: bytes
) -> None:
    for number in range(40):
        step(store, b"%d" % number)
    (root_of(tmp_path) / "changes.jsonl").write_bytes(content)
    with pytest.raises(CorruptStore, match=r"changes\.jsonl"):
        store.history()
    assert step(store, b"three").generation == 41


def test_every_change_is_told_once_whether_logged_or_still_in_a_state(
    store: TaskDirectory, tmp_path: Path
) -> None:
    for number in range(70):
        step(store, b"%d" % number)
        told = open_task_directory(root_of(tmp_path)).history()
        assert [change.generation for change in told] == [*range(1, number + 2)]


def test_a_proposal_stands_in_one_piece_but_is_not_worth_waiting_for_the_link(
    store: TaskDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step(store, b"one")
    prompt = put(store, b"two")
    synced: list[str] = []
    fsync = os.fsync

    def note(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    store.update(lambda state: propose_graft(state, "like", prompt, who="ann"))
    *files, folder = synced
    assert (len(files), folder) == (1, "states")
    synced.clear()
    candidate = store.read().candidates["like"]
    store.update(lambda state: confirm(state, "like", candidate, "ann", 0.0))
    assert synced[1:] == ["states", "tasks"]
    assert open_task_directory(root_of(tmp_path)).read().task("like").active == 2


def test_a_full_disk_is_unavailable_and_changes_nothing(
    store: TaskDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = step(store, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreUnavailable, match="No space left on device"):
            step(store, b"two")
    assert store.read() == before
    assert step(store, b"two").generation == 2


# --- death --------------------------------------------------------------------------------------


def check(root: Path, acknowledged: int) -> int:
    """After a death: the last acknowledged generation, or the one under way, and all of it."""
    store = open_task_directory(root)
    state = store.read()
    assert acknowledged <= state.generation <= acknowledged + 1
    assert [c.generation for c in store.history()] == list(range(1, state.generation + 1))
    for digest in state.prompts():
        store.prompt(digest)
    assert not list(root.rglob("*.writing"))
    return state.generation


def work_forever(root: Path, acknowledged: Connection) -> None:
    store = open_task_directory(root)
    while True:
        acknowledged.send(step(store, os.urandom(2000)).generation)


def test_a_process_killed_at_any_moment_leaves_the_last_committed_state(tmp_path: Path) -> None:
    root = root_of(tmp_path)
    rng = random.Random(1)
    last = check(root, 0)
    for _ in range(50):
        ours, theirs = FORK.Pipe(duplex=False)
        worker = FORK.Process(target=work_forever, args=(root, theirs))
        worker.start()
        theirs.close()
        last = max(last, ours.recv())
        time.sleep(rng.random() * 0.01)
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        try:
            while True:
                last = max(last, ours.recv())
        except EOFError:
            ours.close()
        last = check(root, last)
    assert last >= 50


def die_before_call(root: Path, number: int) -> None:
    """Ends the process, as a kill would, just before its n-th call that writes to the disk."""
    calls = 0

    def guarded(real: Callable[P, R]) -> Callable[P, R]:
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            nonlocal calls
            calls += 1
            if calls == number:
                os._exit(9)
            return real(*args, **kwargs)

        return call

    store = open_task_directory(root)
    for name in ("open", "fsync", "replace", "rename", "symlink", "unlink", "truncate"):
        setattr(os, name, guarded(getattr(os, name)))
    step(store, b"new")
    os._exit(0)


def test_a_process_that_dies_before_any_of_its_steps_leaves_a_whole_state(tmp_path: Path) -> None:
    prepared = root_of(tmp_path)
    for number in range(12):
        step(open_task_directory(prepared), bytes([number]))
    ends: list[int | None] = []
    while not ends or ends[-1] != 0:
        root = tmp_path / f"copy{len(ends)}"
        shutil.copytree(prepared, root, symlinks=True)
        worker = FORK.Process(target=die_before_call, args=(root, len(ends) + 1))
        worker.start()
        worker.join()
        ends.append(worker.exitcode)
        check(root, 12)
        assert step(open_task_directory(root), b"next").generation in {13, 14}
    assert len(ends) > 10
    assert set(ends) == {0, 9}
