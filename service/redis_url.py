"""Where Redis (or Valkey) is, by URL, and how long anything may take there.

    redis://user:password@host:port/db                      one server
    redis+cluster://user:password@host:port,host:port       a cluster, by some of its nodes
    redis+sentinel://host:port,host:port/service/db         the master that the sentinels name

    URL --read_redis_url--> RedisPlace          └--> ConfigError, which shows no part of the URL

rediss instead of redis means TLS. Some of redis-py's arguments may follow, as ?ssl_ca_certs=FILE;
?sentinel_username= and ?sentinel_password= are for sentinels that ask for their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.connection import parse_url

from service.errors import ConfigError

Kind = Literal["server", "cluster", "sentinel"]
_SCHEMES: dict[str, tuple[Kind, int]] = {
    "redis": ("server", 6379),
    "redis+cluster": ("cluster", 6379),
    "redis+sentinel": ("sentinel", 26379),
}
_FORMS = (
    "redis://user:password@host:port/db, redis+cluster://host:port,host:port or "
    "redis+sentinel://host:port,host:port/service/db (rediss... for TLS)"
)

_ARGUMENTS = {"username", "password", "db", "health_check_interval", "socket_keepalive"}
_TLS_ARGUMENTS = {
    f"ssl_{name}" for name in ("ca_certs", "cert_reqs", "check_hostname", "certfile", "keyfile")
}


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """A URL's content.

    Attributes:
        nodes: the server, some nodes of the cluster, or the sentinels.
        service: what the sentinels call the master.
        login: username, password, db and redis-py's arguments, of the servers.
        sentinel_login: the same of the sentinels.
    """

    kind: Kind
    tls: bool
    nodes: tuple[tuple[str, int], ...]
    service: str
    login: Mapping[str, Any]
    sentinel_login: Mapping[str, Any]


def read_redis_url(url: str) -> RedisPlace:
    """Raises ConfigError for a URL of another form."""
    scheme = url.partition("://")[0]
    plain = scheme.replace("rediss", "redis", 1)
    if plain not in _SCHEMES:
        raise ConfigError(f"{scheme!r} is no Redis URL; expected {_FORMS}")
    try:
        return _read(url, *_SCHEMES[plain], tls=scheme.startswith("rediss"))
    except (ValueError, TypeError) as err:
        raise ConfigError(f"the Redis URL cannot be read; expected {_FORMS}") from err


def _read(url: str, kind: Kind, port: int, *, tls: bool) -> RedisPlace:
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    nodes = tuple(_node(host, port) for host in hosts.split(","))
    path, service = parts.path, ""
    if kind == "sentinel":
        service, _, path = path.strip("/").partition("/")
        if not service:
            raise ValueError("a sentinel URL names the service")
    database = path.strip("/")
    if database and not database.isdecimal():  # redis-py would take 0 for it
        raise ValueError("a database is a number")
    if kind == "cluster" and int(database or 0):
        raise ValueError("a cluster has database 0 alone")
    asked = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    own = {
        name: asked.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in asked
    }
    prefix = f"redis://{login}@" if login else "redis://"
    given = dict(parse_url(f"{prefix}host/{database}?{urlencode(asked)}"))
    del given["host"]
    if kind == "cluster":
        given.pop("db", None)  # it has but one, and its client knows no other
    if unknown := given.keys() - _ARGUMENTS - _TLS_ARGUMENTS:
        raise ValueError(f"{min(unknown)} is no argument of a Redis URL here")
    secured = {name: value for name, value in given.items() if name in _TLS_ARGUMENTS}
    return RedisPlace(kind, tls, nodes, service, given, secured | own)


def _node(text: str, port: int) -> tuple[str, int]:
    place = urlsplit(f"//{text}")
    if not place.hostname:
        raise ValueError("a host is missing")
    return place.hostname, place.port or port


def waits(timeout_s: float, name: str) -> dict[str, Any]:
    """What every connection gets: no wait without an end. redis-py's own retries outlast any."""
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,
        "client_name": name,
    }
