"""The Open Inference Protocol v2, for clients of Triton and KServe: each live task is a model.

    /v2, /v2/health/*, /v2/models/{name}[/versions/{version}][/ready] --> metadata and readiness
    POST .../infer   body --tensors.py, signature.py--> ScoreRequest --Scorer.score--> score (N,)

The same gate, limits and scores as POST /v1/score. Everything raised rises to the Boundary, which
answers below /v2 in the protocol's own form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict
from starlette.types import Receive, Scope, Send

from service.api.application import VERSION
from service.api.body import check_type, read_body
from service.api.boundary import HEADERS, REQUEST_ID, send_body
from service.api.ports import Answer, Scores, Tasks
from service.api.score import score_in_turn
from service.api.tasks import known_name
from service.api.views import REFUSALS, RoutingView
from service.decoder import RequestDecoder
from service.errors import UnknownVersion
from service.gate import Gate
from service.metrics import Metrics
from service.settings import Settings
from service.signature import Signature
from service.tensors import OUTPUT, Inference, read_inference, write_inference

INFER_PATHS = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
TAG = "open inference protocol"
LENGTH_HEADER = "Inference-Header-Content-Length"
_LENGTH = LENGTH_HEADER.lower().encode()
_JSON, _BINARY = b"application/json", b"application/octet-stream"
Responses = dict[int | str, dict[str, Any]]
Name = Annotated[str, Path(description="The task's name.")]
Version = Annotated[str, Path(description="A version that scores; 0 for a head.")]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class Live(_View):
    """The process runs."""

    live: Literal[True] = True


class Ready(_View):
    """Whether the service, or a model, wants traffic."""

    ready: bool


_UNREADY: Responses = {
    503: {"model": Ready, "description": "Starting, draining, or no version scores."}
}


class ServerView(_View):
    """What answers here."""

    name: str
    version: str
    extensions: list[str]


class TensorView(_View):
    """One input or output; -1 in its shape is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelView(_View):
    """One task; versions has the stable one, and the canary if one is out."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorView]
    outputs: list[TensorView]


class ProtocolRefusal(_View):
    """The body of every answer from 400 up below /v2."""

    error: str


class InferRoute:
    """Scores one user's candidates for the task that the path names; bare ASGI."""

    def __init__(
        self, scorer: Scores, decoder: RequestDecoder, signature: Signature, gate: Gate,
        metrics: Metrics, settings: Settings,
    ) -> None:  # fmt: skip
        self._scorer = scorer
        self._decoder = decoder
        self._signature = signature
        self._gate = gate
        self._metrics = metrics
        self._most = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._gate.check()
        headers = scope[HEADERS]
        # Triton's clients name no type, KServe's the one of what they send.
        check_type(headers, _JSON, _BINARY)
        # A body on its way takes no place: whoever sends slowly keeps nobody out.
        body = await read_body(receive, headers, self._most)
        task, version = (
            known_name(scope["path_params"]["name"]),
            scope["path_params"].get("version"),
        )
        with self._gate:
            with self._metrics.stage("parse"):
                inference = read_inference(body, headers.get(_LENGTH))
                fields = self._signature.fields(inference)
                request = self._decoder.score_of({**fields, "tasks": [task]})
            answer = await score_in_turn(self._gate, self._scorer, request)
            # Only the answer knows which version scores this user.
            if version is not None:
                _check_version(task, version, [str(answer.versions[task])])
            with self._metrics.stage("write"):
                await _send(send, task, inference, answer, scope[REQUEST_ID])


def oip_server_router(gate: Gate) -> APIRouter:
    """What the protocol tells of the service, for the public port."""
    router = APIRouter(tags=[TAG])

    @router.get("/v2", summary="What answers here")
    async def show_server() -> ServerView:
        return ServerView(name="taskgraft", version=VERSION, extensions=["binary_tensor_data"])

    @router.get("/v2/health/live", summary="Is the process alive?")
    async def live() -> Live:
        return Live()

    @router.get("/v2/health/ready", summary="Does the process want traffic?", responses=_UNREADY)
    async def ready(response: Response) -> Ready:
        return _readiness(response, gate, live=True)

    return router


def oip_models_router(gate: Gate, tasks: Tasks, signature: Signature) -> APIRouter:
    """What the protocol tells of the tasks, for the public port."""
    router = APIRouter(tags=[TAG])
    inputs = [
        TensorView(name=i.name, datatype=i.datatype, shape=list(i.shape))
        for i in signature.inputs.values()
    ]
    outputs = [TensorView(name=OUTPUT, datatype="FP32", shape=[-1])]
    unknown = protocol_refusals(404)

    def model(name: str, version: str | None = None) -> ModelView:
        shares = RoutingView.model_validate(tasks.routing(known_name(name)))
        canary = None if shares.canary is None else shares.canary.version
        versions = [str(v) for v in (shares.stable, canary) if v is not None]
        if version is not None:
            _check_version(name, version, versions)
        return ModelView(
            name=name, versions=versions, platform="onnx", inputs=inputs, outputs=outputs
        )

    @router.get("/v2/models/{name}", summary="One task", responses=unknown)
    async def show_model(name: Name) -> ModelView:
        return model(name)

    @router.get("/v2/models/{name}/ready", summary="Does it score?", responses=unknown | _UNREADY)
    async def model_ready(name: Name, response: Response) -> Ready:
        return _readiness(response, gate, live=bool(model(name).versions))

    of_version = "/v2/models/{name}/versions/{version}"

    @router.get(of_version, summary="One task, if this version scores", responses=unknown)
    async def show_version(name: Name, version: Version) -> ModelView:
        return model(name, version)

    @router.get(
        f"{of_version}/ready", summary="Does this version score?", responses=unknown | _UNREADY
    )
    async def version_ready(name: Name, version: Version, response: Response) -> Ready:
        return _readiness(response, gate, live=bool(model(name, version).versions))

    return router


def protocol_refusals(*statuses: int) -> Responses:
    """The `responses` of a route below /v2 that can refuse in these ways."""
    return {s: {"model": ProtocolRefusal, "description": REFUSALS[s]} for s in statuses}


def _readiness(response: Response, gate: Gate, *, live: bool) -> Ready:
    ready = live and gate.state == "ready"
    if not ready:
        response.status_code = 503
    return Ready(ready=ready)


def _check_version(task: str, wanted: str, scoring: Sequence[str]) -> None:
    if wanted not in scoring:
        told = f"version {' and '.join(scoring)} scores" if scoring else "none scores now"
        raise UnknownVersion(f"task {task} does not score with version {wanted[:20]!r}; {told}")


async def _send(
    send: Send, task: str, inference: Inference, answer: Answer, request_id: str
) -> None:
    told = {
        "model_name": task,
        "model_version": str(answer.versions[task]),
        "id": inference.request.id or request_id,
        "parameters": {"generation": answer.generation, "degraded": answer.degraded},
    }
    body, head = write_inference(told, answer.scores[task], binary=inference.binary)
    if head is None:
        await send_body(send, 200, _JSON, body)
    else:
        await send_body(send, 200, _BINARY, body, (_LENGTH, b"%d" % head))
