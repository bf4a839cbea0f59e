"""The OpenAPI documents of both ports, exact for one bundle.

    FastAPI routes + request structs of this schema --public_document, admin_document--> dict

What the documents allow, the service takes; what they forbid, it refuses.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from contract.schema import FeatureSchema
from service.api.admin import Rollback
from service.api.backbone import UpgradeBody
from service.api.guard import OPEN_PATHS
from service.api.live import PLAYGROUND
from service.api.oip import LENGTH_HEADER, TAG
from service.api.routing import RoutingBody
from service.api.views import refusals
from service.messages import EventsAnswer, ScoreAnswer
from service.request_types import documented_score_type, events_type
from service.settings import Settings
from service.tensors import InferAnswer, InferRequest

_REF = "#/components/schemas/{name}"
_AUTOMATIC = ("HTTPValidationError", "ValidationError")
Document = dict[str, Any]


def public_document(app: FastAPI, schema: FeatureSchema, settings: Settings) -> Document:
    """The public port, with the routes that FastAPI does not know."""
    document = _document(app)
    request_types = (
        documented_score_type(schema, settings),
        events_type(schema, settings, documented=True),
    )
    structs = (*request_types, ScoreAnswer, EventsAnswer, InferRequest, InferAnswer)
    references, components = msgspec.json.schema_components(structs, ref_template=_REF)
    document["components"]["schemas"] |= components
    score, events, score_answer, events_answer, infer, infer_answer = references
    document["paths"] |= {
        "/v1/score": {
            "post": _operation(
                ("score", "Score one user's candidates for many tasks"),
                score,
                {"200": ("Scores, in the order of item_ids.", score_answer)},
                (400, 404, 413, 415, 422, 429, 503, 504),
            )
        },
        "/v1/events": {
            "post": _operation(
                ("events", "Append to the behaviour sequences"),
                events,
                {"202": ("Stored; the next score sees them.", events_answer)},
                (400, 413, 415, 422, 429, 503),
            )
        },
        "/v2/models/{name}/infer": {"post": _inference(infer, infer_answer, "name")},
        "/v2/models/{name}/versions/{version}/infer": {
            "post": _inference(infer, infer_answer, "name", "version")
        },
    }
    return document


def admin_document(app: FastAPI, schema: FeatureSchema, settings: Settings) -> Document:
    """The admin port: every path but the open ones asks for a bearer token."""
    document = _document(app)
    schemes = {"token": {"type": "http", "scheme": "bearer"}}
    document["components"]["securitySchemes"] = schemes
    for body in (Rollback, RoutingBody, UpgradeBody):
        shape = body.model_json_schema(ref_template=_REF.format(name="{model}"))
        document["components"]["schemas"] |= shape.pop("$defs", {}) | {body.__name__: shape}
    structs = documented_score_type(schema, settings), ScoreAnswer
    references, components = msgspec.json.schema_components(structs, ref_template=_REF)
    document["components"]["schemas"] |= components
    document["paths"][PLAYGROUND] = {
        "post": _operation(
            ("console", "Score one user's candidates, as the public port does"),
            references[0],
            {"200": ("Scores, in the order of item_ids.", references[1])},
            (400, 404, 413, 415, 422, 429, 503, 504),
        )
    }
    for path, operations in document["paths"].items():
        if path in OPEN_PATHS:
            continue
        for operation in operations.values():
            operation["security"] = [{"token": []}]
            operation["responses"] |= _refused(401, 403, 429)
    return document


def _document(app: FastAPI) -> Document:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    # FastAPI promises its own form of 422 for any parameter; a name that is no name is a 404 here.
    for operations in document["paths"].values():
        for operation in operations.values():
            answer = operation["responses"].get("422", {})
            if _AUTOMATIC[0] in str(answer.get("content")):
                del operation["responses"]["422"]
    for name in _AUTOMATIC:
        schemas.pop(name, None)
    return document


def _operation(
    names: tuple[str, str],
    request: Document,
    answers: dict[str, tuple[str, Document]],
    refused: tuple[int, ...],
) -> Document:
    tag, summary = names
    responses = {
        status: {"description": text, "content": {"application/json": {"schema": schema}}}
        for status, (text, schema) in answers.items()
    }
    return {
        "tags": [tag],
        "summary": summary,
        "operationId": tag,
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": responses | _refused(*refused),
    }


def _inference(request: Document, answer: Document, *path: str) -> Document:
    """One form of infer, in JSON or with raw tensors after it."""
    raw = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    length: Document = {"name": LENGTH_HEADER, "schema": {"type": "integer", "minimum": 2}}
    text = "Of the JSON; only where raw tensors follow it."
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in path
    ]
    return {
        "tags": [TAG],
        "summary": "Score one user's candidates for one task",
        "operationId": "_".join(("infer", *path)),
        "parameters": [*parameters, {**length, "in": "header", "description": text}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request}, **raw},
        },
        "responses": {
            "200": {
                "description": "Scores, in the order of item_ids.",
                "headers": {LENGTH_HEADER: {"schema": length["schema"], "description": text}},
                "content": {"application/json": {"schema": answer}, **raw},
            },
            **_refused(400, 404, 413, 415, 429, 503, 504, form="ProtocolRefusal"),
        },
    }


def _refused(*statuses: int, form: str = "Refusal") -> Document:
    content = {"application/json": {"schema": {"$ref": _REF.format(name=form)}}}
    return {
        str(status): {"description": answer["description"], "content": content}
        for status, answer in refusals(*statuses).items()
    }
