"""The feature store of one host: an SQLite file in WAL mode, shared by its worker processes.

    read   --event loop, one SELECT--> UserFeatures            (some 30 us: cheaper than a thread)
             └--nothing committed since it was read--> what is known      (3 us)
    append --writer thread, one transaction--> the file
             ├--> CorruptStore      at open: damaged, or somebody else's file
             └--> StoreUnavailable  later: locked too long, disk full, damaged meanwhile

An append that returned survives the death of the process (synchronous=NORMAL: the log is in the
kernel's hands); a power cut may cost the last moments, never the file's soundness. Nothing expires.
Not for network file systems: WAL needs memory shared by all its processes.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from service.errors import CorruptStore, StoreUnavailable
from service.features import (
    Event,
    OnCorrupt,
    Record,
    UserFeatures,
    assemble,
    chunks,
    pack_events,
    pack_record,
    read_keys,
)
from service.packing import Items, Layout, merge

_APPLICATION_ID = 0x54474653  # "TGFS": tells our file from any other database
_FORMAT = 1
_OPENING_WAIT_S = 5.0  # for another worker that opens or fills the same file
_CHECKED_BYTES = 64 * 2**20  # a larger file is not read through at open: that would delay readiness
_KEYS_PER_SELECT = 500
_LOAD_CHUNK = 500
_TABLE = """CREATE TABLE entries
    (key BLOB PRIMARY KEY, value BLOB NOT NULL CHECK (typeof(value) = 'blob'))"""
_PUT = "INSERT INTO entries VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


@dataclass(frozen=True, slots=True)
class EmbeddedOptions:
    """How long a locked file may take; alone, a read or a write takes well under a millisecond.

    Args:
        read_wait_s: a read waits this long on the event loop, so nothing else goes on meanwhile.
        write_wait_s: an append, its wait for appends before it included.
    """

    read_wait_s: float = 0.02
    write_wait_s: float = 1.0


class EmbeddedStore:
    """A FeatureStore over two connections: one reads on the event loop, one writes on a thread.

    Made by open_embedded_store.
    """

    def __init__(
        self,
        layout: Layout,
        on_corrupt: OnCorrupt,
        reader: sqlite3.Connection,
        writer: sqlite3.Connection,
        write_wait_s: float,
    ) -> None:
        self._layout = layout
        self._on_corrupt = on_corrupt
        self._reader = reader
        self._writer = writer
        self._write_wait_s = write_wait_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feature-writer")
        self._version = 0
        # What the file holds for sure, as long as that is its version.
        self._current = WeakValueDictionary[str, UserFeatures]()

    async def read(
        self, user: str, items: Sequence[str] = (), known: UserFeatures | None = None
    ) -> UserFeatures:
        return self.read_now(user, items, known)

    def read_now(
        self, user: str, items: Sequence[str] = (), known: UserFeatures | None = None
    ) -> UserFeatures:
        """What read does; on the event loop as well."""
        found: dict[bytes, bytes] = {}
        before = None if items else known  # overrides are read each time
        with _failures():
            if before is not None:
                self._look_for_changes()
                if self._current.get(user) is before:
                    return before
            keys = read_keys(self._layout, user, items)
            for at in range(0, len(keys), _KEYS_PER_SELECT):
                some = keys[at : at + _KEYS_PER_SELECT]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, value FROM entries WHERE key IN ({marks})"
                found.update(self._reader.execute(query, some).fetchall())
        values = [found.get(key) for key in keys]
        features = assemble(self._layout, keys, items, values, self._on_corrupt, known)
        if before is not None and features.stored:
            self._current[user] = features
        return features

    def _look_for_changes(self) -> None:
        # Before the SELECT: what is committed between the two is seen, and looked for once more.
        (version,) = self._reader.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            self._current.clear()

    async def append(self, events: Sequence[Event]) -> None:
        packed = pack_events(self._layout, events)
        try:
            async with asyncio.timeout(self._write_wait_s):
                await self._write(lambda: self._merge(packed))
        except TimeoutError as err:
            raise StoreUnavailable("the embedded feature store is locked by others") from err

    async def load(self, records: Iterable[Record]) -> int:
        count = 0
        for chunk in chunks(records, _LOAD_CHUNK):
            await self._put(
                [pair for record in chunk for pair in pack_record(self._layout, record)]
            )
            count += len(chunk)
        return count

    async def ping(self) -> None:
        with _failures():
            self._reader.execute("SELECT 1 FROM entries LIMIT 1").fetchone()

    async def close(self) -> None:
        """Ends the writes that are under way, then the connections."""
        await asyncio.to_thread(self._thread.shutdown)
        self._reader.close()
        self._writer.close()

    async def _put(self, pairs: list[tuple[bytes, bytes]]) -> None:
        await self._write(lambda: self._writer.executemany(_PUT, pairs))

    def _merge(self, packed: dict[bytes, Items]) -> None:
        for key, items in packed.items():
            query = "SELECT value FROM entries WHERE key = ?"
            row = self._writer.execute(query, (key,)).fetchone()
            value = merge(self._layout, key, row[0] if row else None, items)
            self._writer.execute(_PUT, (key, value))

    async def _write(self, change: Callable[[], object]) -> None:
        """One transaction on the writer's thread; it runs to its end even if the caller leaves."""

        def transaction() -> None:
            with _failures(), _transaction(self._writer):
                change()

        await asyncio.get_running_loop().run_in_executor(self._thread, transaction)


def open_embedded_store(
    path: Path,
    layout: Layout,
    on_corrupt: OnCorrupt,
    options: EmbeddedOptions = EmbeddedOptions(),
) -> EmbeddedStore:
    """Opens the file or makes it. Blocks: call it before serving, or on a thread.

    Raises:
        CorruptStore: the file is damaged, or not ours.
        StoreUnavailable: the file cannot be opened or made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = _connect(path)
        try:
            _prepare(path, writer)
            reader = _connect(path)
        except BaseException:
            writer.close()
            raise
        reader.execute("PRAGMA query_only = ON")
        for connection, wait_s in ((reader, options.read_wait_s), (writer, options.write_wait_s)):
            connection.execute(f"PRAGMA busy_timeout = {wait_s * 1000:.0f}")
    except (OSError, sqlite3.OperationalError) as err:
        raise StoreUnavailable(f"the feature store {path} cannot be opened: {err}") from err
    except sqlite3.DatabaseError as err:
        raise CorruptStore(
            f"the feature store {path} is damaged ({err}); move it and its -wal and -shm files "
            "away to start with an empty one, or restore a copy"
        ) from err
    return EmbeddedStore(layout, on_corrupt, reader, writer, options.write_wait_s)


def _connect(path: Path) -> sqlite3.Connection:
    # One connection is used by one thread at a time, but not by the thread that made it.
    connection = sqlite3.connect(
        path, timeout=_OPENING_WAIT_S, isolation_level=None, check_same_thread=False
    )
    # A user's whole history then lies in one page: half the time of a read.
    connection.execute("PRAGMA page_size = 16384")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _prepare(path: Path, writer: sqlite3.Connection) -> None:
    """Checks the file, or fills an empty one; the first of several workers does it for all."""
    _enter_wal(writer)
    with _transaction(writer):
        (tables,) = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (owner,) = writer.execute("PRAGMA application_id").fetchone()
        (version,) = writer.execute("PRAGMA user_version").fetchone()
        if not tables and not owner:
            writer.execute(_TABLE)
            writer.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            writer.execute(f"PRAGMA user_version = {_FORMAT}")
        elif owner != _APPLICATION_ID:
            raise CorruptStore(f"{path} is a database of another program; name another file")
        elif version != _FORMAT:
            raise CorruptStore(
                f"the feature store {path} has format {version}, this program reads {_FORMAT}; "
                "name another file or use the program that wrote it"
            )
    if path.stat().st_size <= _CHECKED_BYTES:
        (verdict,) = writer.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)


def _enter_wal(writer: sqlite3.Connection) -> None:
    """SQLite itself does not wait at this change of mode when several workers start at once."""
    deadline = time.monotonic() + _OPENING_WAIT_S
    while True:
        try:
            writer.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def _transaction(writer: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; taking the write lock first, so that what is read cannot change meanwhile."""
    writer.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        writer.rollback()
        raise
    writer.commit()


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        raise StoreUnavailable(f"the embedded feature store failed: {err}") from err
