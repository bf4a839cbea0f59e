"""Bodies: capped while they stream, of the right type."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.types import Message, Receive

from service.api.body import check_json, read_body
from service.errors import CallerGone, Malformed, TooLarge, UnsupportedMedia

LEAVE = None


def stream(*pieces: bytes | None) -> tuple[Receive, Callable[[], int]]:
    """A receive that gives these pieces, LEAVE for a disconnect; and how many it has given."""
    given = 0

    async def receive() -> Message:
        nonlocal given
        piece = pieces[given]
        given += 1
        if piece is LEAVE:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": given < len(pieces)}

    return receive, lambda: given


async def read(*pieces: bytes | None, most: int = 10, length: bytes | None = None) -> bytes:
    headers = {} if length is None else {b"content-length": length}
    return await read_body(stream(*pieces)[0], headers, most)


async def test_a_body_comes_in_one_piece_or_in_many() -> None:
    assert await read(b"0123456789") == b"0123456789"
    assert await read(b"01", b"", b"23", b"") == b"0123"
    assert await read(b"") == b""


@pytest.mark.parametrize("length", [b"11", b"9" * 5000])
async def test_an_announced_length_over_the_limit_is_refused(length: bytes) -> None:
    with pytest.raises(TooLarge, match="larger than 10 bytes"):
        await read(b"", length=length)


async def test_a_caller_who_asks_before_sending_is_refused_unread() -> None:
    receive, given = stream(b"")
    with pytest.raises(TooLarge):
        await read_body(receive, {b"content-length": b"11", b"expect": b"100-continue"}, 10)
    assert given() == 0


async def test_leading_zeros_make_no_body_larger() -> None:
    assert await read(b"x", length=b"0" * 50 + b"1") == b"x"


@pytest.mark.parametrize("length", [b"x", b"", b"-1", b"1.0", "²".encode()])
async def test_a_length_that_is_no_number_is_malformed(length: bytes) -> None:
    with pytest.raises(Malformed):
        await read(b"", length=length)


async def test_a_caller_over_the_limit_may_finish_sending_and_then_reads_the_refusal() -> None:
    receive, given = stream(*[b"12345"] * 100)
    with pytest.raises(TooLarge):
        await read_body(receive, {}, 12)
    assert given() == 100


async def test_a_caller_who_never_ends_is_not_listened_to_for_ever() -> None:
    receive, given = stream(*[b"x" * (1 << 20)] * 200)
    with pytest.raises(TooLarge):
        await read_body(receive, {}, 12)
    assert given() < 100


async def test_one_piece_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        await read(b"01234567890")


async def test_a_caller_who_leaves_is_told_apart_from_an_end() -> None:
    with pytest.raises(CallerGone):
        await read(LEAVE)
    with pytest.raises(CallerGone):
        await read(b"01", LEAVE)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"content-type": b"application/json"},
        {b"content-type": b"Application/JSON ; charset=utf-8"},
        {b"content-encoding": b"Identity"},
    ],
)
def test_json_may_be_called_so_in_several_ways(headers: dict[bytes, bytes]) -> None:
    check_json(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {b"content-type": b"text/plain"},
        {b"content-type": b""},
        {b"content-type": b"application/x-www-form-urlencoded"},
        {b"content-type": b"application/jsonx"},
        {b"content-type": b"\xff"},
        {b"content-encoding": b"gzip"},
        {b"content-type": b"application/json", b"content-encoding": b"gzip, identity"},
    ],
)
def test_any_other_body_is_not_read(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(UnsupportedMedia):
        check_json(headers)
