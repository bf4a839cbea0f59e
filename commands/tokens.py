"""`taskgraft tokens`: who may graft. The caller gets the secret, the service its hash."""

from __future__ import annotations

import time
from collections.abc import Sequence

from commands.failures import Misuse
from commands.screen import Screen, pairs
from service.auth import new_token

_DAY_S = 86400


def new(screen: Screen, name: str, scopes: Sequence[str], days: int | None) -> None:
    """Make an admin token; its secret is shown this once."""
    if days is not None and days < 1:
        raise Misuse(f"--days {days}; expected 1 or more")
    expires_s = None if days is None else int(time.time()) + days * _DAY_S
    secret, made = new_token(name, scopes, expires_s)
    facts = {
        "token, for the caller": secret,
        "TASKGRAFT_ADMIN_TOKENS, for the service": made.line(),
    }
    screen.show(
        {"name": name, "token": secret, "admin_tokens": made.line(), "expires_s": expires_s},
        pairs("A new admin token; the secret is shown this once", facts),
    )
