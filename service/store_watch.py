"""A thread that looks whether the task store moved on, so that no look costs the event loop time.

    task store --generation, many times a second--> read --> moved: whoever waits on the event loop
                   └--> ServiceError: kept, and raised by found

Handing every look to a thread and back would take ten times the work of the look itself, on the
loop that answers requests.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

from contract.errors import ContractError
from service.errors import ServiceError
from service.task_store import DesiredState, TaskStore
from service.threads import ASIDE_NICE, give_way

_PAUSE_S = 0.02
# A candidate was proved: the word to switch comes soon, and all should switch together.
_SHORT_PAUSE_S = 0.003
_FAREWELL_S = 1.0
_AGAIN_S = 0.5
_Found = int | DesiredState | ContractError | ServiceError


class StoreWatch:
    """One thread per process; all methods are for the event loop that started it."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._found: _Found = 0
        self._ended = threading.Event()
        self._hasty = False
        self._unread: int | None = None  # the generation that could not be read
        self._again_at = 0.0
        self._moved = asyncio.Event()
        self._thread: threading.Thread | None = None

    def start(self, served: int) -> None:
        """Look from now on; what is served already is no news."""
        self._found = served
        arguments = (asyncio.get_running_loop(),)
        # A store that hangs must not keep the process from ending.
        self._thread = threading.Thread(
            target=self._look, args=arguments, name="store watch", daemon=True
        )
        self._thread.start()

    async def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _FAREWELL_S)

    @property
    def found(self) -> int:
        """The generation at the last look.

        Raises:
            StoreUnavailable, CorruptStore: what the last look met.
        """
        match self._found:
            case int():
                return self._found
            case DesiredState():
                return self._found.generation
            case _:
                raise self._found

    @property
    def state(self) -> DesiredState | None:
        """The state of that generation, unless it was served already when the looking began."""
        return self._found if isinstance(self._found, DesiredState) else None

    async def moved(self, within_s: float, *, hasty: bool) -> None:
        """Returns when a look finds something new, at the latest within so many seconds.

        Args:
            within_s: patience.
            hasty: look more often, for something is about to come.
        """
        self._hasty = hasty
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._moved.wait()
        self._moved.clear()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        give_way(ASIDE_NICE)
        while not self._ended.wait(_SHORT_PAUSE_S if self._hasty else _PAUSE_S):
            found = self._look_once()
            if found is not None:
                # What follows is for the loop to say; a store in trouble is looked at in peace.
                self._found, self._hasty = found, not isinstance(found, Exception)
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._moved.set)

    def _look_once(self) -> _Found | None:
        """What is new, or None."""
        try:
            generation = self._store.generation()
            if not isinstance(self._found, Exception) and generation == self.found:
                return None
            # A state that cannot be read may be large, and stay.
            if generation == self._unread and time.monotonic() < self._again_at:
                return None
            self._unread, self._again_at = generation, time.monotonic() + _AGAIN_S
            found = self._store.read()
        except (ContractError, ServiceError) as err:
            return None if str(err) == str(self._found) else err
        self._unread = None
        return found
