"""GET /v1/tasks, /v1/tasks/{name} and /v1/schema: what a client may score, read only.

TaskRegistry, FeatureSchema --> views.py | UnknownTask
"""

from __future__ import annotations

import re

from fastapi import APIRouter, Response

from contract.schema import FeatureSchema
from service.api.ports import Tasks
from service.api.views import TasksView, TaskView, refusals
from service.errors import UnknownTask

_TASK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def is_task_name(name: str) -> bool:
    return _TASK_NAME.fullmatch(name) is not None


def known_name(name: str) -> str:
    """A name that a task could have.

    Raises:
        UnknownTask: it could not.
    """
    if not is_task_name(name):
        raise UnknownTask([name[:64]])
    return name


def tasks_router(tasks: Tasks) -> APIRouter:
    """For the public port; the admin port has the same behind a token."""
    router = APIRouter(tags=["tasks"])

    @router.get("/v1/tasks", summary="All live tasks")
    async def list_tasks() -> TasksView:
        return all_tasks(tasks)

    @router.get("/v1/tasks/{name}", summary="One task", responses=refusals(404))
    async def show_task(name: str) -> TaskView:
        return TaskView.model_validate(tasks.task(known_name(name)))

    return router


def schema_router(tasks: Tasks) -> APIRouter:
    """The feature schema as the live bundle has it."""
    router = APIRouter(tags=["tasks"])

    @router.get("/v1/schema", summary="The model's fields", response_model=FeatureSchema)
    async def show_schema() -> Response:
        return Response(tasks.schema.model_dump_json(), media_type="application/json")

    return router


def all_tasks(tasks: Tasks) -> TasksView:
    found = [TaskView.model_validate(task) for task in tasks.tasks()]
    return TasksView(generation=tasks.snapshot.generation, tasks=found)
