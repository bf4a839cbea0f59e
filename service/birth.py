"""What a supervisor and its worker say to each other: lines of JSON, over a socket pair.

    supervisor --Birth, then OPEN, then DRAIN | STOP--> worker --News--> supervisor

The orders are single bytes.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from pydantic import TypeAdapter

from service.settings import Settings

OPEN, DRAIN, STOP = b"o", b"d", b"s"


@dataclass(frozen=True, slots=True)
class Birth:
    """What a worker starts with.

    Attributes:
        public: file descriptor of the listening socket; inherited, like admin.
        slot: its place among the workers; the one that replaces it gets the same.
        folder: what the workers of this service share about their metrics.
        early: whether it listens before it is ready, to answer health checks. One that joins others
            must not: they would share their callers with a worker that refuses them.
    """

    public: int
    admin: int
    slot: int
    folder: str
    early: bool
    settings: Settings


@dataclass(frozen=True, slots=True)
class News:
    """What a worker tells.

    Attributes:
        failed: why it cannot start; it is ready if that is empty.
        misuse: whether a setting is the reason.
    """

    failed: str = ""
    misuse: bool = False


BIRTH = TypeAdapter(Birth)
NEWS = TypeAdapter(News)


def read_birth(channel: socket.socket) -> Birth:
    """What a worker is told first; an order that follows at once stays in the channel."""
    with channel.makefile("rb", buffering=0) as unbuffered:
        return BIRTH.validate_json(unbuffered.readline())


def ready() -> bytes:
    return NEWS.dump_json(News()) + b"\n"


def failed(sentence: str, *, misuse: bool) -> bytes:
    return NEWS.dump_json(News(sentence, misuse)) + b"\n"
