"""The two addresses of a service and what opens them: shared by both clients.

base_url, admin_url, token --Doors--> the URL, headers and time of a Call's next try
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import httpx

from client.attempts import Attempts
from client.calls import Call, Reply
from client.errors import BadRequest, ClientError, Deadline, Unavailable

DEFAULT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a service is.

    Attributes:
        admin_url: of the admin port; None for a client that only scores.
        token: the admin port's bearer token.
    """

    base_url: str
    admin_url: str | None
    token: str | None = field(repr=False)
    timeout_s: float

    def __post_init__(self) -> None:
        for url in (self.base_url, self.admin_url):
            if url is not None and not _is_address(url):
                raise BadRequest(f"{url!r} is no address; expected one like http://127.0.0.1:8000")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise BadRequest("the token holds characters that no HTTP header can; copy it again")
        if self.timeout_s <= 0:
            raise BadRequest(f"timeout_s is {self.timeout_s}; expected more than 0")

    @property
    def trust_env(self) -> bool:
        """Whether proxies of the environment apply: never on the way to this very machine."""
        host = httpx.URL(self.base_url).host
        try:
            return not ip_address(host).is_loopback
        except ValueError:
            return host != "localhost"

    def attempts(self, call: Call[Any]) -> Attempts:
        within_s = self.timeout_s if call.within_s is None else min(call.within_s, self.timeout_s)
        return Attempts(repeatable=call.repeatable, timeout_s=self.timeout_s, within_s=within_s)

    def request(
        self, call: Call[Any], http: httpx.Client | httpx.AsyncClient, left_s: float
    ) -> httpx.Request:
        """One try of a call.

        Raises:
            BadRequest: a call of the admin port, whose address is not known.
        """
        root = self.base_url if call.door == "public" else self.admin_url
        if root is None:
            raise BadRequest(
                f"{call.method} {call.path} is a call of the admin port: give admin_url and token"
            )
        headers = {"accept": "application/json", **call.headers}
        if call.body is not None:
            headers["content-type"] = call.content_type
        if call.door == "admin" and self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        return http.build_request(
            call.method,
            root.rstrip("/") + call.path,
            params=call.query or None,
            content=call.body,
            headers=headers,
            timeout=left_s,
        )


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


def reply_of(response: httpx.Response) -> Reply:
    """What calls.py needs of a response that was read."""
    return Reply(response.status_code, response.content, response.headers.get("retry-after"))


def lost(request: httpx.Request, err: httpx.HTTPError | httpx.InvalidURL) -> ClientError:
    """A call that got no answer, as the error to raise."""
    where = f"{request.url.scheme}://{request.url.netloc.decode()}"
    if isinstance(err, httpx.ConnectError):
        return Unavailable(f"nothing answers at {where}: is the service running there? ({err})")
    if isinstance(err, httpx.TimeoutException):
        return Deadline(f"{where} did not answer in time ({type(err).__name__})")
    return Unavailable(f"the connection to {where} broke: {err or type(err).__name__}")
