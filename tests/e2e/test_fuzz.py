"""Whatever a client sends is answered as the OpenAPI documents say.

No server error, what they allow is taken, what they forbid refused, no answer undocumented.

TASKGRAFT_FUZZ_EXAMPLES sets how many requests per route (default 25).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks

from contract.lookups import read_schema
from service.app import create_service
from service.parts import open_parts
from tests.fakes import FakeParts
from tests.live_server import ADMIN, LiveServer, documents, live_server, settings_for_tests

load_all_checks()
TINY = Path(__file__).parents[1] / "golden" / "tiny"
EXAMPLES = settings(
    max_examples=int(os.environ.get("TASKGRAFT_FUZZ_EXAMPLES", "25")),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# No document can describe a prompt file, nor tie a tensor's values to its shape: what it allows
# there is refused, as it should be.
SCHEMA = read_schema(TINY / "bundle" / "lookups" / "schema.json")
ACCEPTANCE: Any = CHECKS.get_one("positive_data_acceptance")


PUBLIC, ADMIN_PORT = (
    schemathesis.openapi.from_dict(document)
    for document in documents(create_service(settings_for_tests(), FakeParts(SCHEMA).open))
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    state = tmp_path_factory.mktemp("state")
    settings = settings_for_tests(
        bundle=TINY / "bundle",
        feature_store=f"embedded:{state / 'features'}",
        task_store=str(state / "tasks"),
    )
    with pytest.MonkeyPatch.context() as patch:
        # A stranger is told 401 ten times, then 429; here one address plays hundreds of strangers.
        patch.setattr("service.login_limit._MOST", 10**9)
        with live_server(open_parts, settings) as server:
            yield server


def valid_beyond_schema(case: Case[Any]) -> None:
    """Mends what JSON Schema allows and cannot forbid, in bodies that are meant to be valid.

    To it 1.0 is an integer, and one list's length cannot be tied to another's. And a deadline of
    1 ms is as valid as 504 is an answer to it.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    body = case.body = whole_numbers(case.body)
    if isinstance(body, dict) and body.get("items"):
        rows = body["items"]
        body["items"] = [rows[at % len(rows)] for at in range(len(body["item_ids"]))]
    if isinstance(body, dict) and body.get("deadline_ms"):
        body["deadline_ms"] = max(body["deadline_ms"], 5000)


def whole_numbers(value: Any) -> Any:  # noqa: ANN401  JSON
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole_numbers(inner) for inner in value]
    if isinstance(value, dict):
        return {name: whole_numbers(inner) for name, inner in value.items()}
    return value


@PUBLIC.parametrize()
@EXAMPLES
def test_public_port_does_as_its_document_says(live: LiveServer, case: Case[Any]) -> None:
    valid_beyond_schema(case)
    excluded = [ACCEPTANCE] if case.operation.path.endswith("/infer") else []
    case.call_and_validate(live.public, excluded_checks=excluded)


@ADMIN_PORT.parametrize()
@EXAMPLES
def test_admin_port_does_as_its_document_says(live: LiveServer, case: Case[Any]) -> None:
    valid_beyond_schema(case)
    excluded = [ACCEPTANCE] if case.operation.method == "put" else []
    case.call_and_validate(live.admin, headers=ADMIN, excluded_checks=excluded)
