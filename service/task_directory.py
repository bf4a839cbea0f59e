"""A task store in a directory, shared by all processes that can lock a file in it.

current               symlink to the committed state: one readlink tells the generation
states/G-SHA256.json  states by generation, whole and immutable; the last ones are kept
changes.jsonl         the changes of earlier generations; the state says how long it is, so what a
                      dying process began to write does not count, and holds those after it
prompts/SHA256        prompt files, read-only
workers/              how far each worker has come; see worker_directory.py
lock                  held by whoever writes; the kernel frees it when its holder dies

write -> fsync -> fsync the folder -> move the symlink: a process that dies anywhere leaves the last
committed state, and litter that the next open, or whoever writes the same again, sweeps up. What a
file holds is in its name, and nothing names it before it is whole; so it needs no name aside, whose
rename would wait for the disk once more
  ├--> CorruptStore      a state or prompt whose digest does not fit, or a lost `current`
  └--> StoreUnavailable  disk full, no permission, lock not free in time
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from service.durable_files import sync_folder, write_durably
from service.errors import CorruptStore, PromptMissing, StoreUnavailable
from service.news import News, Pause, folder_news
from service.stored_json import StoredJson
from service.task_store import (
    FORMAT_VERSION,
    Acknowledgement,
    Change,
    DesiredState,
    FormatVersion,
)
from service.worker_directory import WorkerDirectory

_DIGEST = re.compile(r"[0-9a-f]{64}")
_STATE = re.compile(r"states/(\d{12})-([0-9a-f]{64})\.json")
_KEPT_STATES = 8
_DROP_EVERY = 8  # generations: so there are up to twice as many states
_LOGGED_AT_ONCE = 32  # changes: each state carries those that wait, each writing waits for the disk
_SWEEP_EVERY = 256  # generations
_GRACE_S = 3600.0
_LOCK_WAIT_S = 10.0
_PAUSE_S, _SHORT_PAUSE_S = 0.02, 0.004  # between looks, where the kernel gives no word
_TEMPORARY = ".writing"


class _StateFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file in states/; unlogged are changes of earlier generations, not yet in the log."""

    format_version: FormatVersion
    log_bytes: int
    state: DesiredState
    unlogged: tuple[Change, ...] = ()


_STATE_FILE = StoredJson[_StateFile](_StateFile)
_CHANGES = StoredJson[tuple[Change, ...]](tuple[Change, ...])


class TaskDirectory:
    """A TaskStore. Made by open_task_directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prompts = root / "prompts"
        self._states = root / "states"
        self._log = root / "changes.jsonl"
        self._current = str(root / "current")
        self._workers = WorkerDirectory(root / "workers")
        self._seen: tuple[str, _StateFile] | None = None

    def read(self) -> DesiredState:
        return self._read().state

    def generation(self) -> int:
        return int(_named(self._link())[0])

    def history(self) -> tuple[Change, ...]:
        last = self._read()
        try:
            log = self._log.read_bytes()[: last.log_bytes] if last.log_bytes else b""
            logged = [change for line in log.splitlines() for change in _CHANGES.load(line)]
        except (OSError, ValueError) as err:
            raise CorruptStore("the task store's changes.jsonl is damaged; restore a copy") from err
        if len(log) < last.log_bytes:
            raise CorruptStore(
                f"the task store's changes.jsonl was cut to {len(log)} of {last.log_bytes} bytes; "
                "restore a copy"
            )
        return (*logged, *last.unlogged, *last.state.changes)

    def prompt(self, sha256: str) -> bytes:
        try:
            content = self._prompt_path(sha256).read_bytes()
        except FileNotFoundError as err:
            raise PromptMissing(f"the task store holds no prompt {sha256}") from err
        except OSError as err:
            raise StoreUnavailable(f"prompt {sha256} cannot be read: {err.strerror}") from err
        if hashlib.sha256(content).hexdigest() != sha256:
            raise CorruptStore(f"the stored prompt {sha256} is damaged; graft the file again")
        return content

    def put_prompt(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._prompt_path(sha256)
        with self._locked():
            if path.exists() and path.read_bytes() == content:
                os.utime(path)  # young again: not to be swept before it is named
            else:
                write_durably(path, content)
        return sha256

    def update(self, change: Callable[[DesiredState], DesiredState]) -> DesiredState:
        with self._locked():
            last = self._read()
            before = last.state
            wanted = change(replace(before, changes=()))
            if replace(wanted, changes=before.changes) == before:
                return before
            for sha256 in wanted.prompts() - before.prompts():
                if not self._prompt_path(sha256).exists():
                    raise PromptMissing(f"prompt {sha256} is not stored; put_prompt it first")
            generation = before.generation + 1
            changes = tuple(replace(c, generation=generation) for c in wanted.changes)
            after = replace(wanted, generation=generation, changes=changes)
            # After a loss of power a mere proposal may never have been made.
            proposal = after.candidates.keys() > before.candidates.keys()
            self._commit(self._following(last, after), settle=not proposal)
            if generation % _SWEEP_EVERY == 0:
                self._sweep()
        return after

    def acknowledge(self, told: Acknowledgement, lease_s: float) -> None:
        self._workers.write(told, lease_s)

    def acknowledgements(self) -> tuple[Acknowledgement, ...]:
        return self._workers.read()

    def news(self) -> News:
        return folder_news(self._root, Pause(_PAUSE_S, _SHORT_PAUSE_S), written=False)

    def worker_news(self) -> News:
        pause = Pause(_SHORT_PAUSE_S, _SHORT_PAUSE_S)
        return folder_news(self._root / "workers", pause, written=True)

    def forget(self, worker: str) -> None:
        self._workers.remove(worker)

    def open(self) -> None:
        """Makes what is missing in an empty directory, checks the rest, sweeps up."""
        with _failures():
            for folder in (self._states, self._prompts, self._root / "workers"):
                folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not os.path.lexists(self._root / "current"):
                # Generation 0 is committed before all others: later ones mean that it was lost.
                if any(path.name[:12] > f"{0:012d}" for path in self._state_files()):
                    raise CorruptStore(
                        "the task store has states but lost its link `current`; make it point to "
                        "the last sound file in states/, or restore a copy"
                    )
                self._commit(_StateFile(FORMAT_VERSION, 0, DesiredState()))
            self.read()
            self._sweep()

    # --- inside ---------------------------------------------------------------------------------

    def _read(self) -> _StateFile:
        while True:
            link = self._link()
            seen = self._seen
            if seen is not None and seen[0] == link:
                return seen[1]
            try:
                content = (self._root / link).read_bytes()
            except FileNotFoundError as err:
                if self._link() != link:
                    continue  # so many updates meanwhile that this one was dropped
                raise CorruptStore(f"the task store names {link}, which is gone") from err
            except OSError as err:
                raise StoreUnavailable(f"the task store cannot be read: {err.strerror}") from err
            found = _parse(link, content)
            self._seen = link, found
            return found

    def _link(self) -> str:
        try:
            return os.readlink(self._current)
        except OSError as err:
            raise CorruptStore(
                f"the task store's link `current` cannot be read ({err.strerror}); make it point "
                "to the last sound file in states/, or restore a copy"
            ) from err

    def _prompt_path(self, sha256: str) -> Path:
        if not _DIGEST.fullmatch(sha256):
            raise PromptMissing(f"{sha256!r} is no sha256; expected 64 hexadecimal digits")
        return self._prompts / sha256

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer among all threads and processes. Polls: a hung holder must not hang us."""
        deadline = time.monotonic() + _LOCK_WAIT_S
        with _failures(), (self._root / "lock").open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as err:
                    if time.monotonic() > deadline:
                        raise StoreUnavailable(
                            f"the task store was locked by another process for {_LOCK_WAIT_S:.0f} s"
                        ) from err
                    time.sleep(0.002)
            yield

    def _following(self, last: _StateFile, state: DesiredState) -> _StateFile:
        """The next state's file. Its predecessor's changes go to the log once it pays."""
        changes = (*last.unlogged, *last.state.changes)
        if len(changes) < _LOGGED_AT_ONCE:
            return _StateFile(FORMAT_VERSION, last.log_bytes, state, changes)
        return _StateFile(FORMAT_VERSION, self._remember(last.log_bytes, changes), state)

    def _commit(self, file: _StateFile, *, settle: bool = True) -> None:
        """Settle makes the link durable as well, not only what it points to."""
        content = _STATE_FILE.dump(file)
        name = f"{file.state.generation:012d}-{hashlib.sha256(content).hexdigest()}.json"
        write_durably(self._states / name, content)
        aside = self._current + _TEMPORARY
        with suppress(FileNotFoundError):
            os.unlink(aside)
        os.symlink(f"states/{name}", aside)
        self._seen = f"states/{name}", file  # known here before anybody looks
        os.replace(aside, self._current)
        if settle:
            sync_folder(self._root)
        if file.state.generation % _DROP_EVERY == 0:
            self._drop_states(name)

    def _drop_states(self, name: str) -> None:
        """All but the last ones, up to this; what comes after it was never committed."""
        others = [path for path in self._state_files() if path.name != name]
        earlier = [path for path in others if path.name[:12] < name[:12]]
        for path in {*others} - {*earlier[1 - _KEPT_STATES :]}:
            path.unlink()

    def _state_files(self) -> list[Path]:
        """By generation; one that was never committed may be among them."""
        return sorted(p for p in self._states.iterdir() if _STATE.fullmatch(f"states/{p.name}"))

    def _remember(self, log_bytes: int, changes: tuple[Change, ...]) -> int:
        """Logs changes of generations that are about to be followed; returns the log's length.

        A log that somebody cut short goes on where it ends: no reason to refuse a rollback.
        """
        with self._log.open("ab") as log:
            log.truncate(min(_size(log), log_bytes))
            log.write(_CHANGES.dump(changes) + b"\n")
            log.flush()
            os.fsync(log.fileno())
            return _size(log)

    def _sweep(self) -> None:
        """Removes what nobody can be writing or naming: the lock is held."""
        for folder in (self._root, self._states, self._prompts):
            for path in folder.glob(f"*{_TEMPORARY}"):
                path.unlink()
        self._drop_states(Path(self._link()).name)
        try:
            files = [_parse(f"states/{p.name}", p.read_bytes()) for p in self._state_files()]
        except CorruptStore:
            return  # an old state is damaged: what it names is unknown, so everything stays
        named = frozenset[str]().union(*(file.state.prompts() for file in files))
        for path in self._prompts.iterdir():
            old = path.stat().st_mtime < time.time() - _GRACE_S
            if old and path.name not in named and _DIGEST.fullmatch(path.name):
                path.unlink()


def open_task_directory(root: Path) -> TaskDirectory:
    """Opens the directory, or makes it. Blocks.

    Raises:
        CorruptStore: its state is damaged; it is never taken for an empty one.
        StoreUnavailable: it cannot be made, locked or written.
    """
    store = TaskDirectory(root)
    store.open()
    return store


def _named(link: str) -> tuple[str, str]:
    """Generation and digest in the name of a state file."""
    match = _STATE.fullmatch(link)
    if match is None:
        raise CorruptStore(f"the task store's link `current` points to {link!r}, which is no state")
    return match[1], match[2]


def _parse(link: str, content: bytes) -> _StateFile:
    generation, digest = _named(link)
    if hashlib.sha256(content).hexdigest() != digest:
        raise CorruptStore(
            f"the task store's {link} is damaged: its digest does not fit; restore a copy, or make "
            "`current` point to the last sound file in states/"
        )
    try:
        file = _STATE_FILE.load_whole(content)
    except ValueError as err:
        raise CorruptStore(
            f"the task store's {link} is of a form unknown here ({err}); "
            "use the program that wrote it"
        ) from err
    if file.state.generation != int(generation):
        raise CorruptStore(f"the task store's {link} holds generation {file.state.generation}")
    return file


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StoreUnavailable(f"the task store cannot be written: {err.strerror}") from err
