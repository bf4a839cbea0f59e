"""How both Redis stores connect: what a URL may be, and how long anything may take.

    URL --sound_url--> a pool is made, or ConfigError    pool_settings --> what every pool gets

One store uses redis-py's asyncio client, the other its blocking one; their pools are two classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.errors import ConfigError


@contextmanager
def sound_url(url: str) -> Iterator[None]:
    """Raises ConfigError for a URL that is none of Redis, or that the client cannot read."""
    scheme = url.partition("://")[0]
    if scheme not in {"redis", "rediss"}:
        raise ConfigError(f"{scheme!r} is no Redis URL; expected redis:// or rediss://")
    try:
        yield
    except (ValueError, TypeError) as err:
        raise ConfigError(
            "the Redis URL cannot be read; expected redis://user:password@host:port/db"
        ) from err


def pool_settings(timeout_s: float, connections: int, name: str) -> dict[str, Any]:
    """Every wait bounded: for a connection, for connecting, for an answer."""
    return {
        "max_connections": connections,
        "timeout": timeout_s,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,
        "client_name": name,
    }
