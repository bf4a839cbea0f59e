"""Who may do what on the admin port: bearer tokens with scopes, kept as hashes.

    configuration line --read_token--> Token (ConfigError)
    Authorization header + tokens --authenticate--> Token (NotAuthenticated)
    Token + scope --authorise--> nothing (NotAllowed)

Without tokens nobody may do anything.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from service.errors import ConfigError, NotAllowed, NotAuthenticated

Scope = Literal["read", "graft"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FORM = "name:scope+scope:sha256[:expiry], expiry in seconds since 1970"


@dataclass(frozen=True, slots=True)
class Token:
    """One caller.

    Attributes:
        digest: sha256 of the secret, hexadecimal.
        expires_s: seconds since 1970, None for never.
    """

    name: str
    scopes: frozenset[Scope]
    digest: str
    expires_s: int | None = None

    def line(self) -> str:
        """The form that read_token takes."""
        parts = [self.name, "+".join(sorted(self.scopes)), self.digest]
        return ":".join(parts if self.expires_s is None else [*parts, str(self.expires_s)])


def read_token(line: str) -> Token:
    """Read `name:scope+scope:sha256[:expiry]`.

    Raises:
        ConfigError: another form, or an unknown scope. The message never holds the digest.
    """
    name, scopes, digest, expiry, *more = [*line.split(":"), "", "", ""]
    if not NAME.fullmatch(name) or not _DIGEST.fullmatch(digest) or any(more):
        raise ConfigError(f"an admin token is not of the form {_FORM}")
    known = frozenset(scope for scope in SCOPES if scope in scopes.split("+"))
    if len(known) != len(scopes.split("+")):
        raise ConfigError(
            f"admin token {name}: scopes {scopes!r}; expected some of {'+'.join(SCOPES)}"
        )
    if expiry and not re.fullmatch(r"[0-9]{1,12}", expiry):
        raise ConfigError(f"admin token {name}: expiry {expiry!r}; expected seconds since 1970")
    return Token(name, known, digest, int(expiry) if expiry else None)


def new_token(name: str, scopes: Sequence[str], expires_s: int | None = None) -> tuple[str, Token]:
    """A fresh secret, to be shown once, and the token to configure.

    Raises:
        ConfigError: a name or scope that no configuration could hold.
    """
    secret = f"tg_{secrets.token_urlsafe(32)}"
    expiry = "" if expires_s is None else f":{expires_s}"
    return secret, read_token(f"{name}:{'+'.join(scopes)}:{_hash(secret)}{expiry}")


def authenticate(
    authorization: str | None, tokens: Sequence[Token], now_s: float | None = None
) -> Token:
    """The token that an Authorization header presents.

    Raises:
        NotAuthenticated: no such token, or it has expired.
    """
    if not tokens:
        raise NotAuthenticated(
            "no admin token is configured, so nobody may enter: make one with "
            "`taskgraft tokens new NAME --scope graft` and set TASKGRAFT_ADMIN_TOKENS"
        )
    scheme, _, secret = (authorization or "").partition(" ")
    presented = _hash(secret.strip())
    found = None
    for token in tokens:  # all of them, so the time taken does not tell which one was near
        if hmac.compare_digest(token.digest, presented):
            found = token
    if scheme.lower() != "bearer" or found is None:
        raise NotAuthenticated("expected a known token in `Authorization: Bearer TOKEN`")
    if found.expires_s is not None and found.expires_s <= (time.time() if now_s is None else now_s):
        raise NotAuthenticated(f"token {found.name} has expired")
    return found


def authorise(token: Token, scope: Scope) -> None:
    """Raises NotAllowed unless the token has the scope."""
    if scope not in token.scopes:
        raise NotAllowed(
            f"token {token.name} has {'+'.join(sorted(token.scopes))}; this needs {scope}"
        )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
