"""Every way a call can fail, each with the server's sentence.

response, transport failure --calls.py--> ClientError
├── BadRequest     400, 405, 408, 415, 422: the request cannot be right as it stands
├── Unauthorised   401, 403: no known token, or one without the scope
├── NotFound       404: an unknown task or version
├── Refused        409, and 422 of a prompt: nothing changed anywhere; reason says why
├── TooLarge       413: more than a stated limit
├── Overloaded     429: come back after retry_after_s
├── Deadline       504, or the client's own time is over
└── Unavailable    503 and any other 5xx, no connection, an answer that is none
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Told:
    """Where an error comes from: the HTTP answer, and the server's name for the call in its log."""

    status: int | None = None
    request_id: str | None = None


NOTHING = Told()


class ClientError(Exception):
    """A call that gave no result.

    Attributes:
        told: the answer that said so; empty when there was none.
    """

    def __init__(self, message: str, told: Told = NOTHING) -> None:
        super().__init__(message)
        self.told = told


class BadRequest(ClientError):
    """The request cannot be right as it stands."""


class Unauthorised(ClientError):
    """No known token, or one without the scope."""


class NotFound(ClientError):
    """An unknown task or version."""


class Refused(ClientError):
    """A change that was refused; nothing changed anywhere.

    Attributes:
        reason: the machine-readable cause.
        details: what was found and expected.
    """

    def __init__(
        self,
        message: str,
        told: Told = NOTHING,
        *,
        reason: str = "refused",
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, told)
        self.reason = reason
        self.details = dict(details or {})


class TooLarge(ClientError):
    """More than a stated limit."""


class Overloaded(ClientError):
    """No room now.

    Attributes:
        retry_after_s: when it is worth coming back; None when the server did not say.
    """

    def __init__(
        self, message: str, told: Told = NOTHING, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, told)
        self.retry_after_s = retry_after_s


class Deadline(ClientError):
    """The time is over: the request's, or the client's own."""


class Unavailable(ClientError):
    """No connection, a server that is not ready, or an answer that is none.

    Attributes:
        retry_after_s: when it is worth coming back; None when the server did not say.
    """

    def __init__(
        self, message: str, told: Told = NOTHING, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, told)
        self.retry_after_s = retry_after_s
