"""A process of its own that does one thing when it is asked: what it costs is not its asker's.

serve(orders, ...) --AskedProcess--> a spawned process --ask(order)--> what it sent back

It is idle until it is asked, and ended with the block.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from benchmarks.collector import uncollected


class AskedProcess:
    """Runs serve(orders, *arguments), which answers each order that orders_from gives it."""

    def __init__(self, serve: Callable[..., None], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, self._theirs = context.Pipe()
        self._process = context.Process(
            target=_undisturbed, args=(serve, self._theirs, *arguments), daemon=True
        )

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()  # else its end would go unnoticed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(BrokenPipeError):  # it has ended by itself
            self._ours.send(None)
        self._process.join()

    def ask(self, *order: object) -> Any:  # noqa: ANN401  # whatever serve sends
        """Blocks until it is answered; EOFError or OSError if the process ended instead."""
        self._ours.send(order)
        return self._ours.recv()


def _undisturbed(serve: Callable[..., None], *arguments: object) -> None:
    with uncollected():
        serve(*arguments)


def orders_from(connection: Connection) -> Iterator[Any]:
    """What is asked, until the block ends."""
    while (order := connection.recv()) is not None:
        yield order
