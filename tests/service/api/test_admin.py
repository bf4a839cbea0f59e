"""The admin port: who may do what, and how a graft is answered."""

from __future__ import annotations

import httpx
import pytest
import structlog

from service.app import create_service
from service.auth import new_token
from tests.fakes import GOOD_PROMPT, FakeParts
from tests.live_server import settings_for_tests

PROMPT = {"Content-Type": "application/octet-stream"}


async def test_a_new_task_is_created_and_a_new_version_is_not(admin: httpx.AsyncClient) -> None:
    first = await admin.put("/v1/tasks/buy", content=GOOD_PROMPT, headers=PROMPT)
    second = await admin.put("/v1/tasks/buy", content=GOOD_PROMPT)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["version"] == 2
    assert set(first.json()) == {
        "name", "version", "generation", "workers", "checks", "took_ms"
    }  # fmt: skip


async def test_a_refused_prompt_tells_machines_why_and_changes_nothing(
    admin: httpx.AsyncClient, parts: FakeParts
) -> None:
    answer = await admin.put("/v1/tasks/buy", content=b"\xff\xff")
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["reason"]) == ("prompt_refused", "malformed")
    assert error["details"] == {"found": "ffff", "value": None}  # JSON has no NaN
    assert await parts.tasks.audit(9, None) == []


async def test_a_prompt_of_another_backbone_is_a_conflict(admin: httpx.AsyncClient) -> None:
    answer = await admin.put("/v1/tasks/buy", content=b"foreign")
    assert answer.status_code == 409
    assert answer.json()["error"]["reason"] == "wrong_backbone"


async def test_the_name_of_a_head_is_a_conflict(admin: httpx.AsyncClient) -> None:
    answer = await admin.put("/v1/tasks/click", content=GOOD_PROMPT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "task_conflict")


@pytest.mark.parametrize("name", ["Buy", "-buy", "b" * 65, "b.y", "b%20y", "buy%0A", "%C3%A9"])
async def test_a_name_that_no_task_may_have_is_refused(admin: httpx.AsyncClient, name: str) -> None:
    answer = await admin.put(f"/v1/tasks/{name}", content=GOOD_PROMPT)
    assert answer.status_code == 422
    assert answer.json()["error"]["where"] == "name"


async def test_a_prompt_larger_than_the_limit_is_refused(admin: httpx.AsyncClient) -> None:
    answer = await admin.put("/v1/tasks/buy", content=bytes(2001))
    assert answer.status_code == 413


async def test_a_prompt_is_sent_as_bytes_and_uncompressed(admin: httpx.AsyncClient) -> None:
    for headers in ({"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}):
        answer = await admin.put("/v1/tasks/buy", content=GOOD_PROMPT, headers=headers)
        assert answer.status_code == 415


@pytest.mark.parametrize("query", ["wait=soon", "activate=perhaps", "wiat=all"])
async def test_an_option_that_is_none_is_refused_not_ignored(
    admin: httpx.AsyncClient, query: str
) -> None:
    answer = await admin.put(f"/v1/tasks/buy?{query}", content=GOOD_PROMPT)
    assert answer.status_code == 422
    assert answer.json()["error"]["where"] == f"query.{query.split('=', maxsplit=1)[0]}"


async def test_rolling_back_goes_to_the_named_version_or_the_one_before(
    admin: httpx.AsyncClient,
) -> None:
    for _ in range(3):
        await admin.put("/v1/tasks/buy", content=GOOD_PROMPT)
    assert (await admin.post("/v1/tasks/buy/rollback")).json()["version"] == 2
    named = await admin.post("/v1/tasks/buy/rollback", json={"version": 3})
    assert named.json()["version"] == 3
    missing = await admin.post("/v1/tasks/buy/rollback", json={"version": 9})
    assert missing.status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[]", 422),
        (b'{"version":"1"}', 422),
        (b'{"version":0}', 422),
        (b'{"version":1e9}', 422),
        (b'{"version":%s}' % (b"9" * 4000), 422),
        (b'{"v":1}', 422),
        (b"[" * 4000, 400),
        (b" " * 5000, 413),
    ],
)
async def test_a_rollback_that_says_nothing_sound_is_refused(
    admin: httpx.AsyncClient, body: bytes, status: int
) -> None:
    await admin.put("/v1/tasks/buy", content=GOOD_PROMPT)
    answer = await admin.post("/v1/tasks/buy/rollback", content=body)
    assert answer.status_code == status


async def test_what_was_done_and_by_whom_can_be_read(admin: httpx.AsyncClient) -> None:
    await admin.put("/v1/tasks/buy", content=GOOD_PROMPT)
    assert (await admin.delete("/v1/tasks/buy")).json()["version"] is None
    entries = (await admin.get("/v1/audit")).json()["audit"]
    assert [(e["action"], e["who"]) for e in entries] == [("graft", "tester"), ("remove", "tester")]
    assert (await admin.get("/v1/tasks/buy/history")).status_code == 404
    assert (await admin.get("/v1/tasks/click/history")).json() == {"name": "click", "history": []}


async def test_a_history_is_read_in_pages_the_newest_first(admin: httpx.AsyncClient) -> None:
    for _ in range(5):
        await admin.put("/v1/tasks/buy", content=GOOD_PROMPT)
    for path, name in (("/v1/audit", "audit"), ("/v1/tasks/buy/history", "history")):
        newest = (await admin.get(f"{path}?limit=2")).json()[name]
        earlier = (await admin.get(f"{path}?limit=2&before=4")).json()[name]
        assert (len(newest), len(earlier)) == (2, 2)
        everything = (await admin.get(path)).json()[name]
        assert everything[-2:] == newest
        assert everything[1:3] == earlier
        for query in ("limit=0", "limit=1001", "before=0", "befor=1"):
            assert (await admin.get(f"{path}?{query}")).status_code == 422


async def test_workers_and_tasks_can_be_read(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/v1/workers")).json() == {
        "generation": 0,
        "workers": [{"id": "one", "state": "active", "generation": 0, "reason": ""}],
    }
    assert [t["name"] for t in (await admin.get("/v1/tasks")).json()["tasks"]] == ["click"]
    assert (await admin.get("/v1/tasks/click")).json()["kind"] == "head"


async def test_a_path_tells_all_its_methods(admin: httpx.AsyncClient) -> None:
    answer = await admin.patch("/v1/tasks/buy")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "DELETE, GET, PUT"


async def test_without_configured_tokens_only_livez_answers(parts: FakeParts) -> None:
    service = create_service(settings_for_tests(admin_tokens=()), parts.open)
    transport = httpx.ASGITransport(service.admin)
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as nobody:
        assert (await nobody.get("/livez")).status_code == 200
        answer = await nobody.get("/v1/tasks")
    assert answer.status_code == 401
    assert "TASKGRAFT_ADMIN_TOKENS" in answer.json()["error"]["message"]


async def test_strangers_are_slowed_down_and_callers_with_a_token_are_not(
    admin: httpx.AsyncClient,
) -> None:
    wrong = {"Authorization": "Bearer tg_guess"}
    answers = [await admin.get("/v1/tasks", headers=wrong) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert answers[-1].json()["error"]["code"] == "too_many_failures"
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert (await admin.get("/v1/tasks")).status_code == 200


async def test_a_refused_call_is_a_line_that_says_who_and_what(parts: FakeParts) -> None:
    secret, reader = new_token("reader", ["read"])
    service = create_service(settings_for_tests(admin_tokens=(reader,)), parts.open)
    transport = httpx.ASGITransport(service.admin, client=("10.0.0.9", 1))
    with structlog.testing.capture_logs() as lines:
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            await client.put("/v1/tasks/buy", headers={"Authorization": f"Bearer {secret}"})
            await client.delete("/v1/tasks/buy")
    told = [line for line in lines if line["event"] == "admin_refused"]
    assert [(t["method"], t["path"], t["address"], t["actor"]) for t in told] == [
        ("PUT", "/v1/tasks/buy", "10.0.0.9", "reader"),
        ("DELETE", "/v1/tasks/buy", "10.0.0.9", None),
    ]
