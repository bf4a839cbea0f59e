"""The admin port's routes: graft, roll back, remove, and look at what was done.

prompt file --PUT--> TaskRegistry.graft --> ChangeView, 201 for a new task, 200 for a new version
                         └--> PromptMisfit, TaskRejected, TaskConflict: nothing changed anywhere
"""

from __future__ import annotations

import base64
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from service.api.body import check_type, parse_json, read_body, read_json
from service.api.boundary import HEADERS
from service.api.guard import MayGraft, MayRead
from service.api.ports import Grafting, Tasks
from service.api.tasks import all_tasks, is_task_name, known_name
from service.api.views import (
    AuditView,
    ChangeView,
    HistoryView,
    TasksView,
    TaskView,
    WorkersView,
    WorkerView,
    json_body,
    refusals,
)
from service.auth import Token
from service.errors import InvalidField, TaskRejected
from service.rollout import Wait
from service.settings import Settings
from service.signatures import MAX_SIGNATURE_BYTES

_log = structlog.get_logger()
_PROMPT_TYPE = "application/octet-stream"
SIGNATURE_HEADER = "x-prompt-signature"
_MAX_ROLLBACK_BYTES = 4096
PROMPT_BODY: dict[str, Any] = {
    "required": True,
    "description": "The prompt file.",
    "content": {_PROMPT_TYPE: {"schema": {"type": "string", "format": "binary"}}},
}
SIGNATURE: dict[str, Any] = {
    "name": SIGNATURE_HEADER,
    "in": "header",
    "required": False,
    "description": "The prompt's .minisig file, in base64.",
    "schema": {"type": "string", "format": "byte", "maxLength": MAX_SIGNATURE_BYTES},
}
_ROLLBACK_BODY = json_body("Rollback", required=False)
Name = Annotated[str, Path(description="The task's name.")]


class Waiting(BaseModel):
    """Whom to wait for."""

    model_config = ConfigDict(extra="forbid")

    wait: Wait = Field(
        default="all",
        description="Answer once all workers alive serve it, and change nothing if one cannot; or "
        "answer once this worker serves it.",
    )


class GraftOptions(Waiting):
    """How to graft."""

    activate: bool = Field(default=True, description="Score with it at once.")


class Page(BaseModel):
    """Which part of a history."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000, description="The newest so many.")
    before: int | None = Field(
        default=None, ge=1, lt=2**63, description="Of those before this generation."
    )


class Rollback(BaseModel):
    """Which version to go back to; without it the stable one if a canary is out, else an older."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: int | None = Field(default=None, ge=1, lt=2**31)


def reading_router(tasks: Tasks) -> APIRouter:
    """Routes of scope read."""
    router = APIRouter(tags=["tasks"])

    @router.get("/v1/tasks", summary="All live tasks")
    async def list_tasks(_: MayRead) -> TasksView:
        return all_tasks(tasks)

    @router.get("/v1/tasks/{name}", summary="One task", responses=refusals(404))
    async def show_task(name: Name, _: MayRead) -> TaskView:
        return TaskView.model_validate(tasks.task(known_name(name)))

    @router.get(
        "/v1/tasks/{name}/history",
        summary="What happened to a task",
        responses=refusals(404, 422, 503),
    )
    async def show_history(name: Name, _: MayRead, page: Annotated[Page, Query()]) -> HistoryView:
        found = await tasks.history(known_name(name), page.limit, page.before)
        return HistoryView(name=name, history=found)

    @router.get(
        "/v1/workers", summary="The generation each worker has reached", responses=refusals(503)
    )
    async def show_workers(_: MayRead) -> WorkersView:
        found = [WorkerView.model_validate(worker) for worker in await tasks.workers()]
        return WorkersView(generation=tasks.snapshot.generation, workers=found)

    @router.get("/openapi.json", include_in_schema=False)
    async def show_document(request: Request, _: MayRead) -> Response:
        return JSONResponse(request.app.openapi())

    @router.get(
        "/v1/audit", summary="What was done here, and by whom", responses=refusals(422, 503)
    )
    async def show_audit(_: MayRead, page: Annotated[Page, Query()]) -> AuditView:
        return AuditView(audit=await tasks.audit(page.limit, page.before))

    return router


def grafting_router(grafting: Grafting, settings: Settings) -> APIRouter:
    """Routes of scope graft."""
    router = APIRouter(tags=["grafting"])

    @router.put(
        "/v1/tasks/{name}",
        summary="Graft a task, or a new version of it",
        responses={
            201: {"model": ChangeView, "description": "A new task."},
            **refusals(400, 409, 413, 415, 422, 503),
        },
        openapi_extra={"requestBody": PROMPT_BODY, "parameters": [SIGNATURE]},
    )
    async def graft(
        name: Name,
        request: Request,
        response: Response,
        token: MayGraft,
        options: Annotated[GraftOptions, Query()],
    ) -> ChangeView:
        if not is_task_name(name):
            raise InvalidField("name", "expected [a-z0-9][a-z0-9_-]{0,63}")
        signature = read_signature(request)
        body = await read_prompt_file(request, settings)
        report = await grafting.graft(
            name,
            body,
            activate=options.activate,
            actor=token.name,
            wait=options.wait,
            signature=signature,
        )
        response.status_code = 201 if report.created else 200
        return told("task_grafted", report, token)

    @router.post(
        "/v1/tasks/{name}/rollback",
        summary="Go back to an earlier version",
        responses=refusals(400, 404, 409, 413, 415, 422, 503),
        openapi_extra={"requestBody": _ROLLBACK_BODY},
    )
    async def roll_back(
        name: Name, request: Request, token: MayGraft, options: Annotated[Waiting, Query()]
    ) -> ChangeView:
        to = await _rollback(request)
        report = await grafting.rollback(
            known_name(name), to.version, actor=token.name, wait=options.wait
        )
        return told("task_rolled_back", report, token)

    @router.delete(
        "/v1/tasks/{name}", summary="Remove a grafted task", responses=refusals(404, 409, 503)
    )
    async def remove(name: Name, token: MayGraft) -> ChangeView:
        report = await grafting.remove(known_name(name), actor=token.name)
        return told("task_removed", report, token)

    return router


def told(event: str, report: object, token: Token) -> ChangeView:
    """The answer to a change, which is worth a line of its own."""
    change = ChangeView.model_validate(report)
    _log.info(
        event,
        task=change.name,
        version=change.version,
        generation=change.generation,
        actor=token.name,
    )
    return change


async def _rollback(request: Request) -> Rollback:
    body = await read_json(request.receive, request.scope[HEADERS], _MAX_ROLLBACK_BYTES)
    if not body:
        return Rollback()
    return parse_json(Rollback, body)


def read_signature(request: Request) -> str:
    """The .minisig file beside the prompt, whose lines no header could hold as they are."""
    given = request.scope[HEADERS].get(SIGNATURE_HEADER.encode(), b"")
    try:
        if len(given) <= MAX_SIGNATURE_BYTES:
            return base64.b64decode(given, validate=True).decode("utf-8")
    except ValueError as err:
        raise _bad_signature() from err
    raise _bad_signature()


def _bad_signature() -> TaskRejected:
    return TaskRejected(
        "bad_signature",
        f"{SIGNATURE_HEADER} holds no signature: expected the .minisig file in base64, of at most "
        f"{MAX_SIGNATURE_BYTES} bytes",
    )


async def read_prompt_file(request: Request, settings: Settings) -> bytes:
    """The body of a request that brings a prompt."""
    headers = request.scope[HEADERS]
    check_type(headers, _PROMPT_TYPE.encode())
    return await read_body(request.receive, headers, settings.max_prompt_bytes)
