"""What workers know of each other's proofs, and how they take turns."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import Mock

import pytest

from contract.prompt import read_prompt
from service import prover
from service.backbone import BundleRef
from service.proofs import _MOST, Proofs, Where
from service.prover import PromptProver
from service.task_store import StoredPrompt, TaskVersion
from tests.service.tiny import prompt_bytes, tiny

BUNDLE = Where(BundleRef("a" * 64, "1" * 64), "CPUExecutionProvider")
OTHER = BUNDLE._replace(bundle=BundleRef("a" * 64, "2" * 64))
ELSEWHERE = BUNDLE._replace(provider="CUDAExecutionProvider")


def _take_a_turn_and_hang(path: Path, ours: Connection) -> None:
    with Proofs(path).turn():
        ours.send("mine")
        time.sleep(600)


def _take_turns(path: Path, ours: Connection) -> None:
    proofs, taken = Proofs(path), 0
    for _ in range(5):
        with proofs.turn():
            taken += proofs._in_vain_at < 0
    ours.send(taken)


@contextmanager
def hung(path: Path) -> Iterator[int]:
    """Another process that has the turn, by its number."""
    theirs, ours = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_take_a_turn_and_hang, args=(path, ours)
    )
    process.start()
    try:
        assert theirs.recv() == "mine"
        assert process.pid is not None
        yield process.pid
    finally:
        process.kill()
        process.join()


def test_one_worker_knows_what_another_proved_and_where(tmp_path: Path) -> None:
    one, other = Proofs(tmp_path / "proofs"), Proofs(tmp_path / "proofs")
    one.add(BUNDLE, "c" * 64)
    assert other.has(BUNDLE, "c" * 64)
    assert not other.has(OTHER, "c" * 64)
    assert not other.has(ELSEWHERE, "c" * 64)
    assert not other.has(BUNDLE, "d" * 64)


def test_a_process_that_is_alone_remembers_for_itself() -> None:
    alone = Proofs()
    alone.add(BUNDLE, "c" * 64)
    assert alone.has(BUNDLE, "c" * 64)
    assert not Proofs().has(BUNDLE, "c" * 64)


def test_the_oldest_proofs_are_forgotten_first() -> None:
    proofs = Proofs()
    for number in range(_MOST + 1):
        proofs.add(BUNDLE, f"{number:064x}")
    assert not proofs.has(BUNDLE, f"{0:064x}")
    assert proofs.has(BUNDLE, f"{1:064x}")
    assert proofs.has(BUNDLE, f"{_MOST:064x}")


def test_two_threads_never_have_the_turn_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.proofs._PATIENCE_S", 60.0)
    proofs = Proofs(tmp_path / "proofs")
    inside, most = 0, 0

    def turns() -> None:
        nonlocal inside, most
        for _ in range(20):
            with proofs.turn():
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=turns) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_who_waits_for_a_worker_that_hangs_goes_on_without_the_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not wait for the next one either."""
    monkeypatch.setattr("service.proofs._PATIENCE_S", 0.05)
    monkeypatch.setattr("service.proofs._WITHOUT_S", 3600.0)
    proofs, turns = Proofs(tmp_path / "proofs"), 0
    with hung(tmp_path / "proofs"):
        with proofs.turn():
            turns += 1
        monkeypatch.setattr("service.proofs._PATIENCE_S", 3600.0)
        with proofs.turn():
            turns += 1
    assert turns == 2


def test_who_takes_many_turns_leaves_some_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.proofs._PATIENCE_S", 60.0)
    greedy, other = Proofs(tmp_path / "proofs"), tmp_path / "proofs"
    theirs, ours = multiprocessing.Pipe()
    asking = multiprocessing.get_context("spawn").Process(target=_take_turns, args=(other, ours))
    asking.start()
    taken = 0
    try:
        while not theirs.poll():
            with greedy.turn():
                taken += 1
                time.sleep(0.002)
    finally:
        asking.join()
    assert theirs.recv() == 5
    assert taken


def test_a_full_disk_leaves_a_worker_to_its_own_proofs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=OSError(28, "no space left")))
    one, other = Proofs(tmp_path / "proofs"), Proofs(tmp_path / "proofs")
    one.add(BUNDLE, "c" * 64)
    assert one.has(BUNDLE, "c" * 64)
    assert not other.has(BUNDLE, "c" * 64)


def test_a_killed_worker_leaves_the_turn_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.proofs._PATIENCE_S", 60.0)
    proofs, taken = Proofs(tmp_path / "proofs"), threading.Event()

    def wait() -> None:
        with proofs.turn():
            taken.set()

    with hung(tmp_path / "proofs") as number:
        threading.Thread(target=wait, daemon=True).start()
        assert not taken.wait(0.1)
        os.kill(number, signal.SIGKILL)
        assert taken.wait(30)


async def test_a_worker_takes_turns_once_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs, turns = Proofs(), Mock(side_effect=nullcontext)
    monkeypatch.setattr(proofs, "turn", turns)
    async with tiny(tmp_path) as world:
        model, one = world.registry.snapshot.model, PromptProver(proofs=proofs)
        await one.prove(model, "share", prompt_bytes("share"))
        assert turns.call_count == 0
        one.take_turns()
        await one.prove(model, "share", prompt_bytes("share"))
        assert turns.call_count == 1


async def test_what_a_sibling_proved_is_loaded_without_a_second_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other checks are made by every worker."""
    content = prompt_bytes("share")
    shared = tmp_path / "proofs"
    async with tiny(tmp_path) as world:
        model = world.registry.snapshot.model
        sound = read_prompt(content)
        version = TaskVersion.of(1, StoredPrompt(sound.sha256, len(content), 1.0))
        store = Mock(prompt=Mock(return_value=content))
        replay = Mock(wraps=prover._replay)
        monkeypatch.setattr(prover, "_replay", replay)
        await PromptProver(proofs=Proofs(shared)).prove(model, "share", content)
        assert replay.call_count == 1
        sibling = PromptProver(proofs=Proofs(shared)).prove_stored(model, "share", version, store)
        assert (sibling.sha256, sibling.version, replay.call_count) == (sound.sha256, 1, 1)
        PromptProver().prove_stored(model, "share", version, store)
        assert replay.call_count == 2
