"""The HTTP reference: the OpenAPI documents of both ports to Markdown, without a running server.

a bundle's schema --documents--> public, admin --page--> routes, then the shapes they name
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx
from starlette.types import ASGIApp

from contract.bundle import open_bundle
from docs.site.markdown import table
from service.app import Parts, create_service
from service.auth import new_token
from service.metrics import Metrics
from service.settings import Settings

# The documents are exact for one model; the site shows those of the smallest one.
BUNDLE = Path(__file__).parents[2] / "tests" / "golden" / "tiny" / "bundle"
_LIMITS = {
    "minimum": "from", "maximum": "to", "minLength": "at least, characters:",
    "maxLength": "at most, characters:", "minItems": "at least, of them:",
    "maxItems": "at most, of them:", "pattern": "matching", "default": "default",
}  # fmt: skip
Json = Mapping[str, Any]


def documents() -> tuple[Json, Json]:
    """Of the public and of the admin port, as they answer /openapi.json."""
    secret, token = new_token("reader", ["read"])
    settings = Settings(bundle=BUNDLE, admin_tokens=(token,))
    service = create_service(settings, _parts)
    headers = {"Authorization": f"Bearer {secret}"}

    async def read(app: ASGIApp) -> Json:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://docs") as client:
            answer = await client.get("/openapi.json", headers=headers)
        return cast(Json, answer.raise_for_status().json())

    async def both() -> tuple[Json, Json]:
        return await read(service.public), await read(service.admin)

    return asyncio.run(both())


def _parts(settings: Settings, metrics: Metrics) -> Parts:
    """The schema, and nothing behind the routes: no request reaches them."""
    nothing: Any = None
    schema = open_bundle(BUNDLE).lookups.schema
    return Parts(schema, nothing, nothing, nothing, nothing, nothing, nothing, nothing)


def page(document: Json) -> str:
    """Routes in the order of the code, then every shape by its name."""
    lines: list[str] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += _route(f"{method.upper()} {path}", operation)
    lines += ["## Shapes", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _shape(name, schema)
    return "\n".join(lines)


def _route(title: str, operation: Json) -> Iterator[str]:
    yield f"## `{title}`\n"
    summary = operation.get("summary", "")
    yield f"{summary if summary.endswith('?') else f'{summary}.'}\n"
    if operation.get("description"):
        yield f"{operation['description']}\n"
    if parameters := operation.get("parameters"):
        told = [
            (f"`{one['name']}`", one["in"], _kind(one["schema"]), _about(one)) for one in parameters
        ]
        yield table(("parameter", "in", "type", "meaning"), told)
    body = operation.get("requestBody", {})
    if body:
        must = "" if body.get("required") else " (optional)"
        yield f"Body{must}: {_contents(body)}\n"
    rows = [
        (status, answer["description"], _contents(answer))
        for status, answer in operation["responses"].items()
    ]
    yield table(("status", "means", "answer"), rows)


def _contents(holder: Json) -> str:
    kinds = holder.get("content", {}).items()
    told = [
        _kind(one["schema"]) if kind == "application/json" else f"`{kind}`" for kind, one in kinds
    ]
    return " or ".join(told)


def _shape(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}\n"
    if schema.get("description"):
        yield f"{schema['description'].split('Attributes:')[0].strip()}\n"
    properties = schema.get("properties")
    if not properties:
        yield f"{_kind(schema)}\n"
        return
    required = schema.get("required", ())
    rows = [
        (f"`{key}`", "yes" if key in required else "", _kind(one), _about(one))
        for key, one in properties.items()
    ]
    yield table(("field", "required", "type", "meaning"), rows)


def _about(schema: Json) -> str:
    """What it means, then its limits."""
    limits = [f"{word} `{schema[key]}`" for key, word in _LIMITS.items() if _told(schema, key)]
    if "schema" in schema:
        limits += [_about(schema["schema"])]
    return " ".join(part for part in (schema.get("description", ""), ", ".join(limits)) if part)


def _told(schema: Json, key: str) -> bool:
    return key in schema and schema[key] not in (None, {}, [])


def _kind(schema: Json) -> str:
    """A type in words; a shape by a link to it."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", maxsplit=1)[-1]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_kind(one) for one in schema[key]))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{value}`" for value in values)
    kind = schema.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else _holder(kind, schema)


def _holder(kind: str, schema: Json) -> str:
    """A list or an object with what it holds."""
    inner = schema.get({"array": "items", "object": "additionalProperties"}.get(kind, ""))
    word = "list" if kind == "array" else kind
    return f"{word} of {_kind(inner)}" if isinstance(inner, dict) and inner else word
