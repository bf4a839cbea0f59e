"""The one table from error to status, and the one JSON form of every refusal.

    exception --problem_of--> Problem --> {"error": {"code", "message", ...}, "request_id"}
                                 └------> {"error": "message"} below /v2: the protocol's own form

A known failure is one INFO line and tells the caller what to do. Anything else is a fault of ours:
its traceback goes to the log, a fixed sentence to the caller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson
import structlog
from starlette.exceptions import HTTPException

from contract.errors import PromptMisfit
from service import errors

_STATUS: dict[type[Exception], tuple[int, str]] = {
    errors.Malformed: (400, "malformed"),
    errors.NotAuthenticated: (401, "not_authenticated"),
    errors.NotAllowed: (403, "not_allowed"),
    errors.UnknownTask: (404, "unknown_task"),
    errors.UnknownVersion: (404, "unknown_version"),
    errors.BundleMissing: (404, "unknown_backbone"),
    errors.TaskConflict: (409, "task_conflict"),
    errors.UncoveredTasks: (409, "uncovered_tasks"),
    errors.BundleUnfit: (409, "bundle_unfit"),
    errors.TooLarge: (413, "too_large"),
    errors.UnsupportedMedia: (415, "unsupported_media"),
    errors.InvalidField: (422, "invalid_field"),
    errors.TaskRejected: (422, "prompt_refused"),
    PromptMisfit: (422, "prompt_refused"),
    errors.Overloaded: (429, "overloaded"),
    errors.TooManyFailures: (429, "too_many_failures"),
    errors.CallerGone: (499, "caller_gone"),
    errors.NotReady: (503, "not_ready"),
    errors.StoreUnavailable: (503, "store_unavailable"),
    errors.NotConverged: (503, "not_converged"),
    errors.CorruptStore: (503, "store_damaged"),
    errors.PromptMissing: (503, "store_damaged"),
    errors.DeadlineExceeded: (504, "deadline_exceeded"),
}
PROTOCOL = "/v2"
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
_RETRY_AFTER_S = 1
_LONGEST = 1000  # characters of one text
_MOST = 100  # entries of one list
_INTERNAL = "an internal error; the log of this service has it under the request_id"
KNOWN_ERRORS = (*_STATUS, HTTPException)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal, ready to be sent."""

    status: int
    code: str
    message: str
    extra: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def told(self, request_id: str, path: str = "") -> tuple[int, bytes]:
        """The status and the body that a caller of this path understands; "" is no path yet."""
        if path == PROTOCOL or path.startswith(f"{PROTOCOL}/"):
            # The protocol has one status for a request that cannot be, and one text for a refusal.
            status = 400 if self.status == HTTPStatus.UNPROCESSABLE_ENTITY else self.status
            return status, orjson.dumps({"error": _plain(self.message)})
        error = {"code": self.code, "message": self.message, **self.extra}
        return self.status, orjson.dumps({"error": _plain(error), "request_id": request_id})

    def answer(self, request_id: str, path: str = "") -> bytes:
        """The whole answer as it goes over the wire, for whoever speaks before any application."""
        code, body = self.told(request_id, path)
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-Request-ID": request_id,
            **self.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        status = HTTPStatus(code)
        return f"HTTP/1.1 {status} {status.phrase}\r\n{lines}\r\n".encode("latin-1") + body


def problem_of(err: Exception) -> Problem:
    """The refusal for an exception, which is logged here, once, unless it is for want of room."""
    if isinstance(err, HTTPException):
        code = _HTTP_CODES.get(err.status_code, "refused")
        problem = Problem(err.status_code, code, str(err.detail), headers=err.headers or {})
    else:
        entry = next((_STATUS[kind] for kind in type(err).__mro__ if kind in _STATUS), None)
        if entry is None:
            _log.error("request_failed", exc_info=err)
            return internal_problem()
        status, code = entry
        if isinstance(err, PromptMisfit) and err.reason == "wrong_backbone":
            status = 409
        problem = Problem(status, code, str(err), _extra(err), _headers(err))
    # Under overload a line for each refusal would take the time that serving lacks; it is counted.
    if not isinstance(err, errors.Overloaded):
        message = problem.message[:_LONGEST]
        _log.info("request_refused", status=problem.status, code=problem.code, message=message)
    return problem


def internal_problem() -> Problem:
    """What a caller learns of a fault of ours."""
    return Problem(500, "internal", _INTERNAL)


def _extra(err: Exception) -> dict[str, object]:
    if isinstance(err, errors.InvalidField):
        return {"where": err.where}
    if isinstance(err, (errors.UnknownTask, errors.UncoveredTasks)):
        return {"details": {"tasks": list(err.names)}}
    if isinstance(err, errors.NotConverged):
        return {"details": {"workers": [dict(worker) for worker in err.workers]}}
    if isinstance(err, (PromptMisfit, errors.TaskRejected)):
        return {"reason": err.reason, "details": dict(err.details)}
    return {}


def _headers(err: Exception) -> dict[str, str]:
    if isinstance(err, errors.NotAuthenticated):
        return {"WWW-Authenticate": 'Bearer realm="taskgraft"'}
    if isinstance(err, errors.Overloaded):
        return {"Retry-After": str(max(1, math.ceil(err.retry_after_s)))}
    if isinstance(err, (errors.NotReady, errors.StoreUnavailable)):
        return {"Retry-After": str(_RETRY_AFTER_S)}
    if isinstance(err, errors.TooLarge):
        # What is still to come of the body is not worth reading.
        return {"Connection": "close"}
    return {}


def _plain(value: object) -> object:
    """What JSON can carry, of bounded length: an error quotes bytes and names of any kind."""
    match value:
        case str():
            return value[:_LONGEST].encode("utf-8", "replace").decode()
        case dict():
            return {str(_plain(str(name))): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value[:_MOST]]
        case bool() | float() | None:
            return value
        case int() if abs(value) < 2**63:
            return value
        case _:
            return _plain(str(value))
