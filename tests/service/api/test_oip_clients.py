"""Triton's and KServe's own HTTP clients, as their makers ship them, against a real server."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_async
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from service.parts import open_parts
from tests.live_server import ADMIN, LiveServer, live_server, settings_for_tests
from tests.service.tiny import BUNDLE, prompt_bytes

# Neither client ships types that say what its objects are.
Foreign = Any
ITEMS = np.arange(100, 120, dtype=np.int64)
EXTRA = {
    "user": {"age": 33.5, "hobbies": ["chess"]},
    "context": {"device": "phone"},
    "items": [{"price": float(at) / 4} for at in range(len(ITEMS))],
    "history": {"liked": [101, 104]},
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Two heads and the grafted task share."""
    state = tmp_path_factory.mktemp("state")
    settings = settings_for_tests(
        bundle=BUNDLE, feature_store=f"embedded:{state / 'f'}", task_store=str(state / "tasks")
    )
    with live_server(open_parts, settings) as server:
        url, body = f"{server.admin}/v1/tasks/share", prompt_bytes("share")
        httpx.put(url, content=body, headers=ADMIN).raise_for_status()
        yield server


def scored(live: LiveServer, task: str, **extra: object) -> bytes:
    """The bits of what /v1/score says."""
    body = {"user_id": "user-3", "item_ids": ITEMS.tolist(), "tasks": [task], **extra}
    answer = httpx.post(f"{live.public}/v1/score", json=body).raise_for_status()
    return np.array(answer.json()["scores"][task], dtype=np.float32).tobytes()


def arrays(*, extra: bool = False) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {
        "user_id": np.array(["user-3"], dtype=object),
        "item_ids": ITEMS,
    }
    if extra:
        found |= {
            "user.age": np.array([33.5], dtype=np.float32),
            "user.hobbies": np.array(["chess"], dtype=object),
            "context.device": np.array(["phone"], dtype=object),
            "items.price": np.arange(len(ITEMS), dtype=np.float32) / 4,
            "history.liked": np.array([101, 104], dtype=np.int64),
        }
    return found


def datatype(array: NDArray[Any]) -> str:
    return {"O": "BYTES", "i": "INT64", "f": "FP32"}[array.dtype.kind]


def triton_inputs(kind: Foreign, *, binary: bool, extra: bool = False) -> list[Any]:
    inputs = []
    for name, array in arrays(extra=extra).items():
        tensor = kind.InferInput(name, list(array.shape), datatype(array))
        inputs.append(tensor.set_data_from_numpy(array, binary_data=binary))
    return inputs


@pytest.fixture
def client(live: LiveServer) -> Iterator[Foreign]:
    with triton.InferenceServerClient(live.public.removeprefix("http://")) as found:
        yield found


def test_triton_s_client_finds_every_task_as_a_model(client: Foreign) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    for task, version in (("click", "0"), ("share", "1")):
        assert client.is_model_ready(task)
        assert client.is_model_ready(task, version)
        assert not client.is_model_ready(task, "7")
        assert client.get_model_metadata(task)["versions"] == [version]
    assert not client.is_model_ready("nope")
    with pytest.raises(InferenceServerException, match=r"\[404\] no such task: nope"):
        client.get_model_metadata("nope")


@pytest.mark.parametrize("task", ["click", "share"])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("extra", [False, True])
def test_triton_s_client_gets_the_bits_of_a_score(
    live: LiveServer, client: Foreign, task: str, *, binary: bool, extra: bool
) -> None:
    answer = client.infer(
        task,
        triton_inputs(triton, binary=binary, extra=extra),
        outputs=[triton.InferRequestedOutput("score", binary_data=binary)],
        request_id="mine",
        timeout=2_000_000,
    )
    assert answer.get_response()["id"] == "mine"
    scores = answer.as_numpy("score")
    assert scores.tobytes() == scored(live, task, **(EXTRA if extra else {}))
    assert extra == (scores.tobytes() != scored(live, task))


def test_triton_s_client_may_ask_for_a_version_and_for_nothing_else(
    live: LiveServer, client: Foreign
) -> None:
    answer = client.infer("share", triton_inputs(triton, binary=True), model_version="1")
    assert answer.as_numpy("score").tobytes() == scored(live, "share")
    assert answer.get_response()["model_version"] == "1"
    with pytest.raises(InferenceServerException, match="version 1 scores"):
        client.infer("share", triton_inputs(triton, binary=True), model_version="2")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"outputs": [triton.InferRequestedOutput("score", class_count=2)]}, "classification"),
        ({"outputs": [triton.InferRequestedOutput("logit")]}, "no output 'logit'"),
        ({"sequence_id": 7, "sequence_start": True}, "sequence_id"),
        ({"request_compression_algorithm": "gzip"}, "send the body as it is"),
    ],
)
def test_triton_s_client_is_told_what_is_not_served(
    client: Foreign, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InferenceServerException, match=sentence):
        client.infer("click", triton_inputs(triton, binary=True), **changes)


async def test_triton_s_client_for_asyncio_gets_the_same(live: LiveServer) -> None:
    address = live.public.removeprefix("http://")
    async with triton_async.InferenceServerClient(address) as client:
        assert await client.is_model_ready("click")
        answer = await client.infer("click", triton_inputs(triton_async, binary=True))
    assert answer.as_numpy("score").tobytes() == scored(live, "click")


@pytest.fixture(scope="module")
def kserve() -> Foreign:
    if importlib.util.find_spec("kserve") is None:
        pytest.skip("kserve is not installed: it is heavy, and the extra `kserve` brings it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        return importlib.import_module("kserve")


@pytest.mark.parametrize("binary", [False, True])
async def test_kserve_s_client_gets_the_bits_of_a_score(
    live: LiveServer, kserve: Foreign, *, binary: bool
) -> None:
    client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
    try:
        assert await client.is_server_live(live.public)
        assert await client.is_server_ready(live.public)
        assert await client.is_model_ready(live.public, "share")
        assert not await client.is_model_ready(live.public, "nope")
        inputs = []
        for name, array in arrays(extra=True).items():
            tensor = kserve.InferInput(name, list(array.shape), datatype(array))
            tensor.set_data_from_numpy(array, binary_data=binary)
            inputs.append(tensor)
        asked = {"binary_data_output": binary}
        request = kserve.InferRequest("share", inputs, parameters=asked)
        answer = await client.infer(live.public, request, model_name="share")
        with pytest.raises(httpx.HTTPStatusError, match="no such task: nope"):
            await client.infer(live.public, request, model_name="nope")
    finally:
        await client.close()
    assert answer.model_name == "share"
    assert answer.outputs[0].as_numpy().tobytes() == scored(live, "share", **EXTRA)
