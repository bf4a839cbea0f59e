"""A process of its own that does one thing when it is asked: what it costs is not its asker's.

serve(orders, ...) --AskedProcess--> a spawned process --ask(order)--> what it sent back

It is idle until it is asked, and ended with the block.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from benchmarks.collector import uncollected


class AskedProcess:
    """Runs serve(orders, *arguments), which answers each order that orders_from gives it."""

    def __init__(self, serve: Callable[..., None], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_undisturbed, args=(serve, theirs, *arguments), daemon=True
        )

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ours.send(None)
        self._process.join()

    def ask(self, *order: object) -> Any:  # noqa: ANN401  # whatever serve sends
        """Blocks until it is answered."""
        self._ours.send(order)
        return self._ours.recv()


def _undisturbed(serve: Callable[..., None], *arguments: object) -> None:
    with uncollected():
        serve(*arguments)


def orders_from(connection: Connection) -> Iterator[Any]:
    """What is asked, until the block ends."""
    while (order := connection.recv()) is not None:
        yield order
