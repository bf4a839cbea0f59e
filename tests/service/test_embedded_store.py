"""What the embedded store promises beyond the common suite: the file survives, or says why not."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from service.embedded_store import EmbeddedOptions, EmbeddedStore, open_embedded_store
from service.errors import CorruptStore, StoreUnavailable
from service.features import Event
from service.packing import Corruption, Layout

LAYOUT = Layout(("click",), "int64", cap=4096)
FORK = multiprocessing.get_context("fork")


def opened(path: Path) -> EmbeddedStore:
    def refuse(reason: Corruption) -> None:
        raise AssertionError(reason)

    return open_embedded_store(path, LAYOUT, refuse)


def append_forever(path: Path, first: int, acknowledged: Connection) -> None:
    """A worker process: writes its events one by one, and says of each that it stands."""
    import asyncio

    async def run() -> None:
        store = opened(path)
        for ts in range(first, first + 1000):
            await store.append([Event("ann", ts, "click", ts)])
            acknowledged.send(ts)
        await store.close()

    asyncio.run(run())


async def test_an_acknowledged_event_survives_the_death_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    ours, theirs = FORK.Pipe(duplex=False)
    worker = FORK.Process(target=append_forever, args=(path, 0, theirs))
    worker.start()
    theirs.close()
    last = -1
    while last < 50:
        last = ours.recv()
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    while ours.poll():
        try:
            last = ours.recv()
        except EOFError:
            break
    store = opened(path)
    stored = (await store.read("ann")).histories["click"].tolist()
    await store.close()
    assert stored[: last + 1] == list(range(last + 1))
    assert len(stored) <= last + 2  # the one that was under way


async def test_workers_that_start_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    ours, theirs = FORK.Pipe(duplex=False)
    workers = [
        FORK.Process(target=append_forever, args=(path, first, theirs)) for first in (0, 1000, 2000)
    ]
    for worker in workers:
        worker.start()
    for _ in range(3000):
        ours.recv()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    store = opened(path)
    assert (await store.read("ann")).histories["click"].tolist() == list(range(3000))
    await store.close()


async def written(path: Path) -> None:
    store = opened(path)
    await store.append([Event(str(user), 1, "click", 1) for user in range(2000)])
    await store.close()


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 40_000)


def somebody_elses(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()


def newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (garbage, "is damaged"),
        (truncated, "is damaged"),
        (overwritten, "is damaged"),
        (somebody_elses, "another program"),
        (newer, "has format 2"),
    ],
)
async def test_a_file_that_cannot_be_trusted_is_refused_at_open(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    path = tmp_path / "features.db"
    await written(path)
    damage(path)
    with pytest.raises(CorruptStore, match=sentence):
        opened(path)


async def test_a_sound_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    await written(path)
    store = opened(path)
    assert (await store.read("1999")).histories["click"].tolist() == [1]
    await store.close()


async def test_a_place_where_no_file_can_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "features.db").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        opened(tmp_path / "features.db")


async def test_a_read_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    """Reads run on the event loop; one that waited would stop everything."""
    path = tmp_path / "features.db"
    await written(path)
    store = opened(path)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute("DELETE FROM entries")
    assert (await store.read("7")).histories["click"].tolist() == [1]
    writer.rollback()
    writer.close()
    await store.close()


async def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    store = opened(tmp_path / "features.db")
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.read("ann")


async def test_a_file_that_others_lock_costs_an_append_its_limit_and_no_more(
    tmp_path: Path,
) -> None:
    """Also the appends behind it. The one under way may still be stored, as its 503 allows."""
    path = tmp_path / "features.db"
    options = EmbeddedOptions(write_wait_s=0.2)
    store = open_embedded_store(path, LAYOUT, lambda _: None, options)
    await store.append([Event("ann", 1, "click", 1)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(3.0):
        ends = await asyncio.gather(
            *(store.append([Event("ann", n, "click", n)]) for n in range(2, 8)),
            return_exceptions=True,
        )
    assert {type(end) for end in ends} == {StoreUnavailable}
    assert (await store.read("ann")).histories["click"].tolist() == [1]
    other.execute("ROLLBACK")
    other.close()
    while True:
        try:
            await store.append([Event("ann", 9, "click", 9)])
            break
        except StoreUnavailable:
            continue
    assert (await store.read("ann")).histories["click"].tolist() in ([1, 9], [1, 2, 9])
    await store.close()
