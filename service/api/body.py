"""A request's body, capped while it streams in.

receive --read_body--> bytes
           ├--> TooLarge, BodyTimeout   more than a body may be, or slower
           └--> CallerGone              the connection ended first
headers --check_json--> nothing, or UnsupportedMedia
bytes --parse_json--> a pydantic model, or Malformed, InvalidField
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.types import Receive

from service.errors import CallerGone, InvalidField, Malformed, TooLarge, UnsupportedMedia

Headers = Mapping[bytes, bytes]
Model = TypeVar("Model", bound=BaseModel)
_LINGER_BYTES = 64 << 20
_LINGER_S = 2.0


def check_json(headers: Headers) -> None:
    """A body without a type counts as JSON; a compressed one is not read.

    Raises:
        UnsupportedMedia: another type or encoding.
    """
    check_type(headers, b"application/json")


def check_type(headers: Headers, *allowed: bytes) -> None:
    """A body without a type counts as the first that is allowed; a compressed one is not read.

    Raises:
        UnsupportedMedia: another type or encoding.
    """
    kind = headers.get(b"content-type", allowed[0])
    if kind not in allowed:
        bare = kind.split(b";")[0].strip().lower()
        if bare not in allowed:
            expected = b" or ".join(allowed).decode("latin-1")
            raise UnsupportedMedia(
                f"Content-Type is {bare.decode('latin-1')!r}; expected {expected}"
            )
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity":
        raise UnsupportedMedia(
            f"Content-Encoding is {encoding.decode('latin-1')!r}; send the body as it is"
        )


async def read_json(receive: Receive, headers: Headers, most: int) -> bytes:
    """The body of a call that takes JSON; raises as check_json and read_body."""
    check_json(headers)
    return await read_body(receive, headers, most)


def parse_json(kind: type[Model], body: bytes) -> Model:
    """A small body as its model.

    Raises:
        Malformed: no JSON.
        InvalidField: a value that the model does not take, and where.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as err:
        first = err.errors()[0]
        if first["type"] == "json_invalid":
            raise Malformed(f"the body is not JSON in UTF-8: {first['msg']}") from err
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise InvalidField(where, first["msg"]) from err


async def read_body(receive: Receive, headers: Headers, most: int) -> bytes:
    """The whole body, of at most `most` bytes. How long it may take is the protocol's affair.

    Raises:
        TooLarge, CallerGone: see the module.
        Malformed: a Content-Length that is no number.
    """
    announced = headers.get(b"content-length", b"0")
    if not announced.isdigit():
        raise Malformed("Content-Length is not a number")
    # Python refuses to read numbers of thousands of digits.
    if len(announced.lstrip(b"0")) > len(str(most)) or int(announced) > most:
        if b"expect" not in headers:  # who asks first has sent nothing yet
            await _linger(receive)
        raise _too_large(most)
    body, more = await _piece(receive)
    if more or len(body) > most:
        return await _rest(receive, bytearray(body), most, more=more)
    return body


async def _rest(receive: Receive, body: bytearray, most: int, *, more: bool) -> bytes:
    while more and len(body) <= most:
        piece, more = await _piece(receive)
        body += piece
    if len(body) > most:
        if more:
            await _linger(receive)
        raise _too_large(most)
    return bytes(body)


async def _linger(receive: Receive) -> None:
    """Let a caller who is still sending finish, within reason.

    An answer to a caller that sends on ends in a reset connection, and he never reads it.
    """
    left = _LINGER_BYTES
    with suppress(CallerGone, TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            more = True
            while more and left > 0:
                piece, more = await _piece(receive)
                left -= len(piece)


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise CallerGone("the caller left before the body was whole")
    return message.get("body", b""), message.get("more_body", False)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body is larger than {most} bytes")
