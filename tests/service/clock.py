"""Time, for the tests that do not wait for it."""

from __future__ import annotations


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
