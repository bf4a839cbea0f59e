"""One port's FastAPI application: the routes that are not direct, refusing in the one JSON form.

routers --application--> FastAPI, whose every answer from 400 up is a Problem
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, cast

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from service.api.boundary import REFUSAL, REQUEST_ID
from service.api.errors import KNOWN_ERRORS, Problem, internal_problem, problem_of
from service.errors import InvalidField

VERSION = "1"


class Application(FastAPI):
    """FastAPI whose document is made outside it, when first asked for: it takes half the start."""

    describe: Callable[[], dict[str, Any]]

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = self.describe()
        return self.openapi_schema


def application(title: str, routers: Iterable[APIRouter], *, openapi: bool) -> Application:
    """An application without redirects: each path has one spelling.

    Args:
        title: of its document.
        routers: all its routes.
        openapi: whether anybody may read /openapi.json, which the caller fills in.
    """
    app = Application(
        title=title,
        version=VERSION,
        openapi_url="/openapi.json" if openapi else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Flat, as they are: included routers would hide their routes from whoever walks them.
        routes=[route for router in routers for route in router.routes],
    )
    for kind in KNOWN_ERRORS:
        app.add_exception_handler(kind, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(RequestValidationError, _refuse_parameter)
    # Answers only: the exception itself rises on to the Boundary, which logs it.
    app.add_exception_handler(Exception, _fail)
    return app


async def _refuse(request: Request, err: Exception) -> Response:
    return _response(request, problem_of(err))


async def _refuse_http(request: Request, err: Exception) -> Response:
    if isinstance(err, HTTPException) and err.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette names the methods of the first route of a path; a path may have several.
        methods = {
            method
            for route in request.app.routes
            if route.matches(request.scope)[0] is not Match.NONE
            for method in getattr(route, "methods", ())
        }
        err = HTTPException(
            405, "the path takes other methods", {"Allow": ", ".join(sorted(methods))}
        )
    return _response(request, problem_of(err))


async def _refuse_parameter(request: Request, err: Exception) -> Response:
    # Registered for this kind alone; the signature is Starlette's.
    first = cast(RequestValidationError, err).errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _response(request, problem_of(InvalidField(where, first["msg"])))


async def _fail(request: Request, err: Exception) -> Response:
    return _response(request, internal_problem())


def _response(request: Request, problem: Problem) -> Response:
    request.scope[REFUSAL] = problem.code
    status, body = problem.told(request.scope[REQUEST_ID], request.scope["path"])
    return Response(body, status, dict(problem.headers), "application/json")
