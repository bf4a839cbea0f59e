"""What the console reads: live counters, whose token it is, and a trial score."""

from __future__ import annotations

from typing import Any

import httpx

from service.app import Service
from service.errors import Overloaded
from tests.fakes import FakeParts

TRIAL = {"user_id": 1, "item_ids": [5, 6]}


async def live(admin: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await admin.get("/v1/live")).raise_for_status().json()
    return document


async def test_live_figures_count_scoring_and_nothing_else(
    public: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    before = await live(admin)
    await public.post("/v1/score", json=TRIAL)
    await public.post("/v1/score", json=TRIAL | {"user_id": "x"})
    await public.get("/v1/tasks")
    after = await live(admin)
    assert after["requests"] == {"2xx": 1, "4xx": 1}
    assert after["refusals"] == {"invalid_field": 1}
    assert sum(after["latency"]) == 2
    assert len(after["latency"]) == len(after["bounds"]) + 1
    assert (before["requests"], before["workers"]) == ({}, 1)
    assert after["at"] > before["at"]


async def test_a_trial_score_is_the_public_ports_answer_and_no_traffic(
    public: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    trial = (await admin.post("/v1/playground/score", json=TRIAL)).raise_for_status().json()
    real = (await public.post("/v1/score", json=TRIAL)).json()
    assert trial | {"request_id": ""} == real | {"request_id": ""}
    assert (await live(admin))["requests"] == {"2xx": 1}


async def test_a_trial_score_is_refused_by_the_same_rules(
    admin: httpx.AsyncClient, parts: FakeParts
) -> None:
    wrong = await admin.post("/v1/playground/score", json=TRIAL | {"user_id": "x"})
    large = await admin.post("/v1/playground/score", content=b"[" + b" " * 3000)
    parts.scorer.failure = Overloaded("no room", 1.0)
    full = await admin.post("/v1/playground/score", json=TRIAL)
    assert (wrong.status_code, large.status_code, full.status_code) == (422, 413, 429)


async def test_a_trial_score_takes_a_place_of_the_gate(
    admin: httpx.AsyncClient, service: Service
) -> None:
    with service.gate, service.gate:
        answer = await admin.post("/v1/playground/score", json=TRIAL)
    assert answer.json()["error"]["code"] == "overloaded"


async def test_a_token_tells_its_name_and_scopes_and_no_secret(admin: httpx.AsyncClient) -> None:
    told = (await admin.get("/v1/token")).json()
    assert told == {"name": "tester", "scopes": ["graft", "read"], "expires_s": None}


async def test_the_schema_is_the_public_ports(
    public: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    assert (await admin.get("/v1/schema")).json() == (await public.get("/v1/schema")).json()
