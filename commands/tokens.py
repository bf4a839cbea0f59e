"""`taskgraft tokens`: who may graft. The caller gets the secret, the service its hash."""

from __future__ import annotations

import time
from collections.abc import Sequence

from commands.failures import Misuse
from commands.screen import Screen
from service.auth import new_token

_DAY_S = 86400


def new(screen: Screen, name: str, scopes: Sequence[str], days: int | None) -> None:
    """Make an admin token; its secret is shown this once."""
    if days is not None and days < 1:
        raise Misuse(f"--days {days}; expected 1 or more")
    expires_s = None if days is None else int(time.time()) + days * _DAY_S
    secret, made = new_token(name, scopes, expires_s)
    document = {"name": name, "token": secret, "admin_tokens": made.line(), "expires_s": expires_s}
    screen.lines(
        document,
        f"export TASKGRAFT_TOKEN={secret}\nexport TASKGRAFT_ADMIN_TOKENS={made.line()}",
    )
    screen.note(
        "the first line is for who grafts and is shown this once; the second is for the service"
    )
