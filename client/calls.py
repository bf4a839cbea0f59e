"""Each request as a value, and each answer as a result or an error; both clients share it.

    arguments --score(), graft(), ...--> Call --(httpx)--> Reply --Call.read--> result | ClientError

Nothing here opens a connection.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from client import results
from client.errors import (
    BadRequest,
    ClientError,
    Deadline,
    NotFound,
    Overloaded,
    Refused,
    Told,
    TooLarge,
    Unauthorised,
    Unavailable,
)
from client.requests import Event, Id, RoutingOptions, ScoreOptions
from client.results import FailureBody

Result = TypeVar("Result")
Door = Literal["public", "admin"]


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, whichever client got it."""

    status: int
    body: bytes
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """One request.

    Attributes:
        repeatable: whether a second arrival does no harm.
        within_s: tighter than the client's own timeout; None for that.
    """

    method: str
    path: str
    kind: type[Result] | Any
    door: Door = "public"
    body: bytes | None = None
    content_type: str = "application/json"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    within_s: float | None = None

    def read(self, reply: Reply) -> Result:
        """The result.

        Raises:
            ClientError: the server's, or Unavailable for an answer that is none of its own.
        """
        if not HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
            raise _error(self, reply)
        try:
            result: Result = TypeAdapter(self.kind).validate_json(reply.body or b"null")
        except ValidationError as err:
            first = err.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the body"
            raise Unavailable(
                f"{self.method} {self.path} answered {reply.status} with something else than "
                f"expected ({where}: {first['msg']}); is this a taskgraft service?",
                Told(reply.status),
            ) from err
        return result


def score(user_id: Id, item_ids: Sequence[Id], options: ScoreOptions) -> Call[results.ScoreResult]:
    request = {"user_id": user_id, "item_ids": list(item_ids), **options}
    deadline_ms = options.get("deadline_ms")
    return Call(
        "POST",
        "/v1/score",
        results.ScoreResult,
        body=_encode(request),
        within_s=None if deadline_ms is None else deadline_ms / 1000,
    )


def events(batch: Sequence[Event]) -> Call[results.Accepted]:
    """Repeatable: a repeated event changes nothing."""
    return Call("POST", "/v1/events", results.Accepted, body=_encode({"events": list(batch)}))


def tasks() -> Call[results.Tasks]:
    return Call("GET", "/v1/tasks", results.Tasks)


def task(name: str) -> Call[results.Task]:
    return Call("GET", _task_path(name), results.Task)


def schema() -> Call[results.Schema]:
    return Call("GET", "/v1/schema", results.Schema)


def ready() -> Call[results.Readiness]:
    """Not repeated: the question is about now."""
    return Call("GET", "/readyz", results.Readiness, repeatable=False)


def graft(
    name: str,
    prompt: bytes,
    signature: bytes | None,
    *,
    activate: bool,
    wait: Literal["all", "local"],
) -> Call[results.Change]:
    """Repeatable: a prompt is known by its digest."""
    return Call(
        "PUT",
        _task_path(name),
        results.Change,
        door="admin",
        body=prompt,
        content_type="application/octet-stream",
        headers=_signed(signature),
        query={"activate": "true" if activate else "false", "wait": wait},
    )


def rollback(name: str, version: int | None) -> Call[results.Change]:
    """Without a version a second arrival would go back twice."""
    return Call(
        "POST",
        f"{_task_path(name)}/rollback",
        results.Change,
        door="admin",
        body=_encode({} if version is None else {"version": version}),
        repeatable=version is not None,
    )


def route(
    name: str, wanted: RoutingOptions, *, wait: Literal["all", "local"]
) -> Call[results.Routed]:
    """Repeatable: it says all, whatever was before."""
    return Call(
        "PUT",
        f"{_task_path(name)}/routing",
        results.Routed,
        door="admin",
        body=_encode(wanted),
        query={"wait": wait},
    )


def routing(name: str) -> Call[results.Routing]:
    return Call("GET", f"{_task_path(name)}/routing", results.Routing, door="admin")


def drift(name: str) -> Call[results.Drift]:
    return Call("GET", f"{_task_path(name)}/drift", results.Drift, door="admin")


def remove(name: str) -> Call[results.Change]:
    """Not repeated: a second arrival would find nothing and say so."""
    return Call("DELETE", _task_path(name), results.Change, door="admin", repeatable=False)


def history(name: str, limit: int, before: int | None) -> Call[results.History]:
    path, query = f"{_task_path(name)}/history", _page(limit, before)
    return Call("GET", path, results.History, door="admin", query=query)


def audit(limit: int, before: int | None) -> Call[results.Audit]:
    return Call("GET", "/v1/audit", results.Audit, door="admin", query=_page(limit, before))


def backbone() -> Call[results.Backbone]:
    return Call("GET", "/v1/backbone", results.Backbone, door="admin")


def digest(prompt: bytes) -> str:
    """What a prompt file is named by."""
    return hashlib.sha256(prompt).hexdigest()


def upload(prompt: bytes, signature: bytes | None = None) -> Call[None]:
    """Repeatable: the path is the prompt's digest."""
    return Call(
        "PUT",
        f"/v1/prompts/{digest(prompt)}",
        None,
        door="admin",
        body=prompt,
        content_type="application/octet-stream",
        headers=_signed(signature),
    )


def upgrade(
    fingerprint: str,
    prompts: Mapping[str, str],
    drop: Sequence[str],
    signatures: Mapping[str, bytes],
) -> Call[results.BackboneChange]:
    """Not repeated: the first arrival may still be on its way."""
    wanted = {"fingerprint": fingerprint, "prompts": dict(prompts), "drop": list(drop)}
    if signatures:
        wanted["signatures"] = {task: _text(sign) for task, sign in signatures.items()}
    return Call(
        "PUT",
        "/v1/backbone",
        results.BackboneChange,
        door="admin",
        body=_encode(wanted),
        repeatable=False,
    )


def rollback_backbone() -> Call[results.BackboneChange]:
    """A second arrival would go forward again."""
    return Call(
        "POST",
        "/v1/backbone/rollback",
        results.BackboneChange,
        door="admin",
        repeatable=False,
    )


def workers() -> Call[results.Workers]:
    return Call("GET", "/v1/workers", results.Workers, door="admin")


def _page(limit: int, before: int | None) -> dict[str, str]:
    return {"limit": str(limit)} | ({} if before is None else {"before": str(before)})


def _task_path(name: str) -> str:
    if not name.strip("."):
        # Dots alone would be taken for steps up the path, whatever is quoted.
        raise BadRequest(f"{name!r} is no task's name")
    return f"/v1/tasks/{quote(name, safe='')}"


def _signed(signature: bytes | None) -> dict[str, str]:
    return {} if signature is None else {"x-prompt-signature": b64encode(signature).decode()}


def _text(signature: bytes) -> str:
    try:
        return signature.decode()
    except UnicodeDecodeError as err:
        raise BadRequest(f"a signature is no .minisig file: {err}") from err


def _encode(value: object) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as err:
        raise BadRequest(f"the request cannot be written as JSON: {err}") from err


_BY_STATUS: dict[int, type[ClientError]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorised,
    HTTPStatus.FORBIDDEN: Unauthorised,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: TooLarge,
    HTTPStatus.GATEWAY_TIMEOUT: Deadline,
}
_PROMPT_REFUSED = "prompt_refused"


def _error(call: Call[Any], reply: Reply) -> ClientError:
    document = FailureBody.read(reply.body)
    said, told = document.error, Told(reply.status, document.request_id)
    sentence = said.message or f"{call.method} {call.path} answered {reply.status}"
    if reply.status == HTTPStatus.CONFLICT or said.code == _PROMPT_REFUSED:
        return Refused(sentence, told, reason=said.reason or said.code, details=said.details)
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Overloaded(sentence, told, retry_after_s=_seconds(reply.retry_after))
    if reply.status in _BY_STATUS:
        return _BY_STATUS[reply.status](sentence, told)
    if HTTPStatus.BAD_REQUEST <= reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return BadRequest(sentence, told)
    return Unavailable(sentence, told, retry_after_s=_seconds(reply.retry_after))


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in its form of seconds; its form of a date counts as not given."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
