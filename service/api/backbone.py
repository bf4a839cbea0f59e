"""The admin port's routes for the backbone: upload prompts, upgrade, roll back, look.

prompt files --PUT /v1/prompts/SHA256--> stored
fingerprint + digests --PUT /v1/backbone--> Upgrades.upgrade --> BackboneChangeView
                            └--> BundleMissing, UncoveredTasks, PromptMisfit, NotConverged, ...
"""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from contract.manifest import Digest
from contract.schema import TaskName
from service.api.admin import PROMPT_BODY, SIGNATURE, read_prompt_file, read_signature
from service.api.body import parse_json, read_json
from service.api.boundary import HEADERS
from service.api.guard import MayGraft, MayRead
from service.api.ports import Backbones
from service.api.views import BackboneChangeView, BackboneView, json_body, refusals
from service.auth import Token
from service.backbone import WantedBackbone
from service.settings import Settings
from service.signatures import MAX_SIGNATURE_BYTES

_log = structlog.get_logger()
_MAX_BODY_BYTES = 1 << 20
_UPGRADE_BODY = json_body("UpgradeBody")

SignatureText = Annotated[str, Field(max_length=MAX_SIGNATURE_BYTES)]


class UpgradeBody(BaseModel):
    """Which backbone shall score, and with which prompts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    fingerprint: Digest = Field(description="Of a bundle that the hosts hold.")
    prompts: dict[TaskName, Digest] = Field(
        default={}, description="By task, the digest of an uploaded prompt tuned on that backbone."
    )
    drop: list[TaskName] = Field(default=[], description="Live tasks that may end with it.")
    signatures: dict[TaskName, SignatureText] = Field(
        default={}, description="By task, the .minisig file of its prompt."
    )


def backbone_router(backbones: Backbones, settings: Settings) -> APIRouter:
    """Routes of scopes read and graft."""
    router = APIRouter(tags=["backbone"])

    @router.get("/v1/backbone", summary="The backbone that scores")
    async def show_backbone(_: MayRead) -> BackboneView:
        return BackboneView.model_validate(backbones.backbone())

    @router.put(
        "/v1/prompts/{sha256}",
        summary="Upload a prompt for an upgrade that names it within the hour",
        status_code=204,
        responses=refusals(400, 413, 415, 422, 503),
        openapi_extra={"requestBody": PROMPT_BODY, "parameters": [SIGNATURE]},
    )
    async def upload(
        sha256: Annotated[Digest, Path(description="Of the body.")], request: Request, _: MayGraft
    ) -> None:
        signature = read_signature(request)
        await backbones.put_prompt(sha256, await read_prompt_file(request, settings), signature)

    @router.put(
        "/v1/backbone",
        summary="Let another backbone score, with the prompts tuned on it",
        responses=refusals(400, 404, 409, 413, 415, 422, 503),
        openapi_extra={"requestBody": _UPGRADE_BODY},
    )
    async def upgrade(request: Request, token: MayGraft) -> BackboneChangeView:
        body = await read_json(request.receive, request.scope[HEADERS], _MAX_BODY_BYTES)
        wanted = parse_json(UpgradeBody, body)
        report = await backbones.upgrade(
            WantedBackbone(wanted.fingerprint, wanted.prompts, wanted.drop, wanted.signatures),
            token.name,
        )
        return _told("backbone_upgraded", report, token)

    @router.post(
        "/v1/backbone/rollback",
        summary="Go back to the backbone before the last upgrade",
        responses=refusals(404, 409, 503),
    )
    async def roll_back(token: MayGraft) -> BackboneChangeView:
        return _told("backbone_rolled_back", await backbones.rollback(token.name), token)

    return router


def _told(event: str, report: object, token: Token) -> BackboneChangeView:
    change = BackboneChangeView.model_validate(report)
    _log.info(
        event,
        backbone=change.fingerprint[:12],
        previous=change.previous[:12],
        generation=change.generation,
        tasks=len(change.tasks),
        actor=token.name,
    )
    return change
