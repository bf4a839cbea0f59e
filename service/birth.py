"""What a worker is born with, and what it and its supervisor say to each other afterwards.

    supervisor --fork: Birth--> worker        a socket pair between the two from then on:
               --OPEN, then DRAIN | STOP-->
               <--News, a line of JSON--

The orders are single bytes. The end of either side tells the other that it died.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import TypeAdapter

from service.settings import Settings

OPEN, DRAIN, STOP = b"o", b"d", b"s"
Sockets = tuple[socket.socket, socket.socket]  # public, admin


@dataclass(frozen=True, slots=True)
class Birth:
    """What a worker starts with.

    Attributes:
        sockets: listening, shared with all other workers.
        slot: its place among the workers; the one that replaces it gets the same.
        folder: what the workers of this service share: their metrics, and what they have proved.
        early: whether it listens before it is ready, to answer health checks. One that joins others
            must not: they would share their callers with a worker that refuses them.
        replaces: whether another was ready in this slot before.
    """

    settings: Settings
    sockets: Sockets
    slot: int
    folder: str
    early: bool
    replaces: bool


Life = Callable[[Birth, socket.socket], None]  # all that a worker does, and its end of the pair


@dataclass(frozen=True, slots=True)
class News:
    """What a worker tells.

    Attributes:
        failed: why it cannot start; it is ready if that is empty.
        misuse: whether a setting is the reason.
    """

    failed: str = ""
    misuse: bool = False


NEWS = TypeAdapter(News)


def ready() -> bytes:
    return NEWS.dump_json(News()) + b"\n"


def failed(sentence: str, *, misuse: bool) -> bytes:
    return NEWS.dump_json(News(sentence, misuse)) + b"\n"
