"""The documents: valid, complete, and exact for one model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.app import create_service
from tests.fakes import FakeParts, example_schema
from tests.live_server import documents, settings_for_tests

PUBLIC, ADMIN = documents(create_service(settings_for_tests(max_items=7), FakeParts().open))


def schema(document: dict[str, Any], name: str) -> Any:  # noqa: ANN401  JSON
    return document["components"]["schemas"][name]


def test_the_public_document_holds_every_public_route() -> None:
    assert sorted(PUBLIC["paths"]) == [
        "/livez",
        "/metrics",
        "/readyz",
        "/v1/events",
        "/v1/schema",
        "/v1/score",
        "/v1/tasks",
        "/v1/tasks/{name}",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{name}",
        "/v2/models/{name}/infer",
        "/v2/models/{name}/ready",
        "/v2/models/{name}/versions/{version}",
        "/v2/models/{name}/versions/{version}/infer",
        "/v2/models/{name}/versions/{version}/ready",
    ]


@pytest.mark.parametrize("document", [PUBLIC, ADMIN])
def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = {
        part.split('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]
    }
    assert references <= document["components"]["schemas"].keys()
    assert references


def test_a_request_is_described_by_the_models_own_fields() -> None:
    fields = {name: schema(PUBLIC, f"{name}Fields") for name in ("Context", "User", "Item")}
    assert {name: sorted(found["properties"]) for name, found in fields.items()} == {
        "Context": ["class", "hour"],
        "User": ["age"],
        "Item": ["distance", "tags"],
    }
    assert all(found["additionalProperties"] is False for found in fields.values())
    assert sorted(schema(PUBLIC, "History")["properties"]) == ["buy", "view"]


def test_limits_and_id_types_are_those_of_settings_and_schema() -> None:
    request = schema(PUBLIC, "ScoreRequest")["properties"]
    assert request["item_ids"]["maxItems"] == 7
    assert request["user_id"]["type"] == "integer"
    strings = FakeParts(example_schema("string", "string"))
    other, _ = documents(create_service(settings_for_tests(), strings.open))
    assert schema(other, "ScoreRequest")["properties"]["user_id"]["type"] == "string"
    behaviours = schema(other, "Event")["properties"]["behaviour"]["enum"]
    assert behaviours == ["buy", "view"]


def test_every_admin_route_but_livez_asks_for_a_token() -> None:
    open_paths = [
        path
        for path, operations in ADMIN["paths"].items()
        for operation in operations.values()
        if operation.get("security") != [{"token": []}]
    ]
    assert open_paths == ["/livez"]


@pytest.mark.parametrize("document", [PUBLIC, ADMIN])
def test_every_refusal_has_the_one_form(document: dict[str, Any]) -> None:
    """Below /v2 the protocol's; not being ready is an answer of its own."""
    forms = {
        (path.startswith("/v2"), answer["content"]["application/json"]["schema"]["$ref"])
        for path, operations in document["paths"].items()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if status >= "400" and not (path.endswith(("/ready", "/readyz")) and status == "503")
    }
    expected = {(False, "#/components/schemas/Refusal")}
    if document is PUBLIC:
        expected |= {(True, "#/components/schemas/ProtocolRefusal")}
    assert forms == expected
