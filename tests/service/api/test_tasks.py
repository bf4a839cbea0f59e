"""The public port's view of the tasks and of the model."""

from __future__ import annotations

import httpx
import pytest

from contract.schema import FeatureSchema
from tests.fakes import GOOD_PROMPT, FakeParts


async def test_all_live_tasks_are_listed_with_their_generation(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    await parts.tasks.graft("buy", GOOD_PROMPT, activate=True, actor="ann")
    document = (await public.get("/v1/tasks")).json()
    assert document["generation"] == 1
    assert [(t["name"], t["kind"], t["version"]) for t in document["tasks"]] == [
        ("click", "head", 0),
        ("buy", "prompt", 1),
    ]


async def test_one_task_is_shown(public: httpx.AsyncClient) -> None:
    answer = await public.get("/v1/tasks/click")
    assert answer.status_code == 200
    assert set(answer.json()) == {
        "name", "kind", "version", "versions", "metrics", "parameters", "provenance",
            "canary",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["other", "CLICK", "..", "%00", "a%0A", "%FF", "x" * 300, "-a"])
async def test_an_unknown_or_impossible_name_is_no_task(
    public: httpx.AsyncClient, name: str
) -> None:
    answer = await public.get(f"/v1/tasks/{name}")
    assert answer.status_code == 404
    assert len(answer.content) < 600


async def test_the_schema_is_the_bundles_own(public: httpx.AsyncClient, parts: FakeParts) -> None:
    answer = await public.get("/v1/schema")
    assert FeatureSchema.model_validate_json(answer.content) == parts.schema


async def test_nothing_can_be_changed_from_the_public_port(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    for method, path in (
        ("PUT", "/v1/tasks/buy"),
        ("DELETE", "/v1/tasks/click"),
        ("POST", "/v1/tasks/click/rollback"),
        ("GET", "/v1/audit"),
        ("GET", "/v1/workers"),
    ):
        assert (await public.request(method, path)).status_code in {404, 405}
    assert await parts.tasks.audit(9, None) == []
