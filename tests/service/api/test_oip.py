"""The Open Inference Protocol over the fakes: forms of answers, refusals, limits, figures."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import numpy as np

from service.app import Service, create_service
from service.routing import Canary, Routing, Wanted
from service.tensors import InferAnswer
from tests.fakes import FakeParts
from tests.live_server import settings_for_tests

INFER = "/v2/models/click/infer"
REQUEST: dict[str, Any] = {
    "inputs": [
        {"name": "user_id", "datatype": "INT64", "shape": [1], "data": [1]},
        {"name": "item_ids", "datatype": "INT64", "shape": [2], "data": [5, 6]},
    ]
}


async def test_an_answer_names_what_scored(public: httpx.AsyncClient) -> None:
    answer = await public.post(INFER, json=REQUEST | {"id": "mine", "model_name": "click"})
    msgspec.json.decode(answer.content, type=InferAnswer)
    assert answer.json() == {
        "model_name": "click",
        "model_version": "0",
        "id": "mine",
        "parameters": {"generation": 0, "degraded": "none"},
        "outputs": [{"name": "score", "datatype": "FP32", "shape": [2], "data": [0.5, 0.5]}],
    }


async def test_raw_scores_follow_the_json_whose_length_is_told(public: httpx.AsyncClient) -> None:
    answer = await public.post(INFER, json=REQUEST | {"parameters": {"binary_data_output": True}})
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert np.frombuffer(answer.content[length:], dtype="<f4").tolist() == [0.5, 0.5]


async def test_only_the_version_that_scores_answers(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    for version, status in (("0", 200), ("1", 404), ("00", 404), ("x", 404), ("9" * 5000, 404)):
        path = f"/v2/models/click/versions/{version}"
        assert (await public.post(f"{path}/infer", json=REQUEST)).status_code == status
        assert (await public.get(path)).status_code == status
        assert (await public.get(f"{path}/ready")).status_code == status
    await parts.tasks.graft("like", b"good prompt", activate=True, actor="ann")
    assert (await public.get("/v2/models/like")).json()["versions"] == ["1"]


async def test_every_refusal_has_the_protocol_s_form(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    huge = {"inputs": [REQUEST["inputs"][0], {**REQUEST["inputs"][1], "data": [5] * 2000}]}
    for status, answer in (
        (400, await public.post(INFER, content=b"{")),
        (400, await public.post(INFER, json={"inputs": []})),
        (404, await public.post("/v2/models/nope/infer", json=REQUEST)),
        (404, await public.post("/v2/models/No%20Name/infer", json=REQUEST)),
        (404, await public.get("/v2/models/nope")),
        (404, await public.get("/v2/nothing")),
        (405, await public.get(INFER)),
        (413, await public.post(INFER, json=huge)),
        (415, await public.post(INFER, content=b"x", headers={"Content-Type": "text/plain"})),
        (415, await public.post(INFER, content=b"x", headers={"Content-Encoding": "gzip"})),
    ):
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]
        assert answer.json()["error"]
        assert answer.headers["X-Request-ID"]
    parts.scorer.failure = RuntimeError("secret")
    answer = await public.post(INFER, json=REQUEST)
    assert answer.status_code == 500
    assert "secret" not in answer.json()["error"]


async def test_it_enters_by_the_same_gate_as_a_score(
    public: httpx.AsyncClient, service: Service, parts: FakeParts
) -> None:
    parts.scorer.held.clear()
    held = [asyncio.create_task(public.post(INFER, json=REQUEST)) for _ in range(2)]
    for _ in held:
        await parts.scorer.arrived.acquire()
    assert service.gate.in_flight == 2
    for path in (INFER, "/v1/score"):
        answer = await public.post(path, json=REQUEST)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
    parts.scorer.held.set()
    assert [(await task).status_code for task in held] == [200, 200]


async def test_before_the_start_it_is_alive_and_not_ready(parts: FakeParts) -> None:
    service = create_service(settings_for_tests(), parts.open)
    transport = httpx.ASGITransport(service.public)
    async with httpx.AsyncClient(transport=transport, base_url="http://public") as public:
        assert (await public.get("/v2/health/live")).json() == {"live": True}
        for path in ("/v2/health/ready", "/v2/models/click/ready"):
            answer = await public.get(path)
            assert (answer.status_code, answer.json()) == (503, {"ready": False})
        assert (await public.post(INFER, json=REQUEST)).status_code == 503


async def test_requests_are_counted_by_the_path_s_template(
    public: httpx.AsyncClient, service: Service
) -> None:
    await public.post(INFER, json=REQUEST)
    await public.post("/v2/models/typed-by-a-caller/infer", json=REQUEST)
    text = (await public.get("/metrics")).text
    for status in ("2xx", "4xx"):
        series = f'taskgraft_requests_total{{route="/v2/models/{{name}}/infer",status="{status}"}}'
        assert f"{series} 1.0" in text
    assert "typed-by-a-caller" not in text


async def test_a_canary_is_a_version_as_the_stable_one_is(
    public: httpx.AsyncClient, parts: FakeParts
) -> None:
    for _ in range(2):
        await parts.tasks.graft("like", b"good prompt", activate=True, actor="ann")
    await parts.tasks.route("like", Wanted(1, Routing(Canary(2, 10.0))), actor="ann")
    assert (await public.get("/v2/models/like")).json()["versions"] == ["1", "2"]
    assert (await public.get("/v2/models/like/versions/2/ready")).status_code == 200
