"""The admin port's lock: no token, no answer; then one scope per route.

    request --Guard--> the application, with the caller's Token | NotAuthenticated, TooManyFailures
    route   --Requires(scope)--> the Token                      | NotAllowed

The guard stands before routing, so that without a token nobody learns which paths there are. Only
/livez and the console's files are open; they tell nothing of the tasks. Who was refused is worth a
line in the log, but not a line for each of a flood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import structlog
from fastapi import Depends
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service import auth
from service.api.boundary import HEADERS
from service.api.console import CONSOLE_PATHS
from service.errors import NotAllowed, NotAuthenticated
from service.login_limit import LoginLimit

OPEN_PATHS = frozenset({"/livez", *CONSOLE_PATHS})
_TOKEN = "taskgraft.token"
_LONGEST_PATH = 200
_log = structlog.get_logger()


class Guard:
    """Pure ASGI, inside the Boundary."""

    def __init__(self, app: ASGIApp, tokens: Sequence[auth.Token]) -> None:
        self.app = app
        self._tokens = tokens
        self._limit = LoginLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in OPEN_PATHS:
            given = scope[HEADERS].get(b"authorization", b"").decode("latin-1")
            try:
                scope[_TOKEN] = auth.authenticate(given, self._tokens)
            except NotAuthenticated:
                self._limit.failed(_address(scope))
                _tell_refused(scope, None)
                raise
        await self.app(scope, receive, send)


class Requires:
    """A route's dependency: the caller's token must have this scope."""

    def __init__(self, scope: auth.Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> auth.Token:  # a def would cost a thread
        token: auth.Token = request.scope[_TOKEN]
        try:
            auth.authorise(token, self.scope)
        except NotAllowed:
            _tell_refused(request.scope, token)
            raise
        return token


def _address(scope: Scope) -> str:
    return str((scope["client"] or ("",))[0])


def _tell_refused(scope: Scope, token: auth.Token | None) -> None:
    _log.warning(
        "admin_refused",
        method=scope["method"],
        path=scope["path"][:_LONGEST_PATH],
        address=_address(scope),
        actor=None if token is None else token.name,
    )


MayRead = Annotated[auth.Token, Depends(Requires("read"))]
MayGraft = Annotated[auth.Token, Depends(Requires("graft"))]
