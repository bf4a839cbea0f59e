"""Routing over HTTP: what is taken, refused and answered."""

from __future__ import annotations

import httpx
import pytest

from tests.fakes import GOOD_PROMPT

PATH = "/v1/tasks/buy/routing"
CANARY = {"version": 1, "percent": 10}


@pytest.fixture(autouse=True)
async def three_versions(admin: httpx.AsyncClient) -> None:
    for _ in range(3):
        await admin.put("/v1/tasks/buy", content=GOOD_PROMPT)


async def test_what_was_put_is_what_can_be_read(admin: httpx.AsyncClient) -> None:
    wanted = {"stable": 3, "canary": CANARY, "shadow": 2, "guard": {"max_psi": 0.25}}
    answer = await admin.put(PATH, json=wanted)
    assert answer.status_code == 200
    shown = (await admin.get(PATH)).json()
    guard = {"max_psi": 0.25, "min_overlap": None, "min_rows": 1000}
    for document in (answer.json(), shown):
        assert document | wanted | {"guard": guard} == document
    assert set(answer.json()) == {*shown, "version", "workers", "checks", "took_ms"}
    assert answer.json()["version"] == 3


async def test_what_is_left_out_is_taken_away_but_the_stable_version_stays(
    admin: httpx.AsyncClient,
) -> None:
    await admin.put(PATH, json={"stable": 2, "canary": CANARY, "shadow": None, "guard": None})
    await admin.put(PATH, json={})
    shown = (await admin.get(PATH)).json()
    assert (shown["stable"], shown["canary"], shown["shadow"]) == (2, None, None)


async def test_a_head_has_no_other_versions(admin: httpx.AsyncClient) -> None:
    shown = (await admin.get("/v1/tasks/click/routing")).json()
    assert (shown["stable"], shown["canary"], shown["shadow"]) == (0, None, None)
    assert (await admin.get("/v1/tasks/click/drift")).json()["versions"] == []


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[]", 422, "body"),
        (b'{"stable":"1"}', 422, "stable"),
        (b'{"stable":0}', 422, "stable"),
        (b'{"canary":1}', 422, "canary"),
        (b'{"canary":{"version":1}}', 422, "canary.percent"),
        (b'{"canary":{"version":1,"percent":100.1}}', 422, "canary.percent"),
        (b'{"canary":{"version":1,"percent":-1}}', 422, "canary.percent"),
        (b'{"canary":{"version":1,"percent":NaN}}', 422, "canary.percent"),
        (b'{"canary":{"version":1,"percent":true}}', 422, "canary.percent"),
        (b'{"shadow":true}', 422, "shadow"),
        (b'{"guard":{}}', 422, "guard"),
        (b'{"guard":{"max_psi":1e999}}', 422, "guard.max_psi"),
        (b'{"guard":{"min_overlap":1.5}}', 422, "guard.min_overlap"),
        (b'{"guard":{"max_psi":1,"min_rows":0}}', 422, "guard.min_rows"),
        (b'{"shadows":1}', 422, "shadows"),
        (b'{"shadow":9}', 409, None),
        (b" " * 5000, 413, None),
    ],
)
async def test_a_routing_that_says_nothing_sound_is_refused_and_changes_nothing(
    admin: httpx.AsyncClient, body: bytes, status: int, where: str | None
) -> None:
    before = (await admin.get(PATH)).json()
    answer = await admin.put(PATH, content=body)
    assert (answer.status_code, answer.json()["error"].get("where")) == (status, where)
    assert (await admin.get(PATH)).json() == before


async def test_a_routing_is_sent_as_json(admin: httpx.AsyncClient) -> None:
    answer = await admin.put(PATH, content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


@pytest.mark.parametrize("name", ["sell", "Buy", "b%0A"])
async def test_an_unknown_task_has_no_routing(admin: httpx.AsyncClient, name: str) -> None:
    paths = [f"/v1/tasks/{name}/{what}" for what in ("routing", "drift")]
    answers = [await admin.get(path) for path in paths]
    answers.append(await admin.put(paths[0], json={}))
    assert {answer.status_code for answer in answers} == {404}


async def test_an_option_that_is_none_is_refused_not_ignored(admin: httpx.AsyncClient) -> None:
    for query in ("wait=soon", "wiat=all"):
        assert (await admin.put(f"{PATH}?{query}", json={})).status_code == 422
