"""The admin port's lock: no token, no answer; then one scope per route.

    request --Guard--> the application, with the caller's Token | NotAuthenticated
    route   --Requires(scope)--> the Token                      | NotAllowed

The guard stands before routing, so that without a token nobody learns which paths there are. Only
/livez is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service import auth
from service.api.boundary import HEADERS

OPEN_PATHS = frozenset({"/livez"})
_TOKEN = "taskgraft.token"


class Guard:
    """Pure ASGI, inside the Boundary."""

    def __init__(self, app: ASGIApp, tokens: Sequence[auth.Token]) -> None:
        self.app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in OPEN_PATHS:
            given = scope[HEADERS].get(b"authorization", b"").decode("latin-1")
            scope[_TOKEN] = auth.authenticate(given, self._tokens)
        await self.app(scope, receive, send)


class Requires:
    """A route's dependency: the caller's token must have this scope."""

    def __init__(self, scope: auth.Scope) -> None:
        self.scope = scope

    def __call__(self, request: Request) -> auth.Token:
        token: auth.Token = request.scope[_TOKEN]
        auth.authorise(token, self.scope)
        return token


MayRead = Annotated[auth.Token, Depends(Requires("read"))]
MayGraft = Annotated[auth.Token, Depends(Requires("graft"))]
