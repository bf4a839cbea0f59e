"""A glance sees what the parser would have seen, or nothing."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.glance import _FIELD, Seen, glance

BODY = b'{"user_id": 1}'
LENGTH = b"Content-Length: %d" % len(BODY)
PLAIN = [
    b"Host: a",
    b"Content-Type: application/json",
    b"X-Request-ID: mine",
    b"Connection: keep-alive",
    b"Accept-Encoding: gzip, deflate",
    b"X-Empty:",
]
ODD = [
    b"Content-Length: 3",
    b"Content-Length: +14",
    b"Content-Length : 14",
    b"Content-Length:\t14 ",
    b"content-length: 14, 14",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding : chunked",
    b"Expect: 100-continue",
    b"Connection: close",
    b"Connection: keep-alive, close",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"X-Request-ID: another",
    b" folded: onto the line before",
    b"no colon",
    b": no name",
    b"X-Bare\rReturn: 1",
    b"X-Nul: \x00",
    b"X-Latin: \xe4",
    b"",
]


class Heard:
    """What the parser told."""

    def __init__(self) -> None:
        self.targets: list[bytes] = []
        self.ids: list[bytes] = []
        self.whole = 0

    def on_url(self, url: bytes) -> None:
        self.targets.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self.ids.append(value)

    def on_message_complete(self) -> None:
        self.whole += 1


def request(*fields: bytes, start: bytes = b"POST /v1/score HTTP/1.1", body: bytes = BODY) -> bytes:
    return b"\r\n".join([start, *fields, b"", body])


def test_a_request_that_came_whole_is_seen() -> None:
    assert glance(request(*PLAIN, LENGTH)) == Seen(b"/v1/score", b"mine")
    assert glance(request(LENGTH)) == Seen(b"/v1/score", None)
    assert glance(request(b"content-LENGTH: 0", body=b"")) == Seen(b"/v1/score", None)


@pytest.mark.parametrize(
    "data",
    [
        request(*PLAIN),
        request(LENGTH, body=BODY[:-1]),
        request(LENGTH, body=BODY + b"P"),
        request(LENGTH, LENGTH),
        request(LENGTH, start=b"GET /v1/score HTTP/1.1"),
        request(LENGTH, start=b"POST /v1/score HTTP/1.0"),
        request(LENGTH, start=b"POST  /v1/score HTTP/1.1"),
        b"\r\n" + request(LENGTH),
        request(LENGTH)[:40],
        b"",
        *(request(field, LENGTH) for field in ODD if not field.startswith(b"X-Req")),
        request(b"X-Request-ID: a", b"X-Request-ID: b", LENGTH),
    ],
)
def test_anything_else_is_for_the_parser(data: bytes) -> None:
    assert glance(data) is None


def test_no_head_takes_longer_than_its_length() -> None:
    """Of a backtracking match this would take minutes, and the others would wait."""
    for spaces in (b" " * 200_000, b"\t" * 200_000):
        for field in (
            b"X-Request-ID:%b!%ba b",
            b"Content-Length:%b1%bx",
            b"Connection:%bkeep-alive%bx",
        ):
            found = _FIELD.match(field % (spaces, spaces) + b"\r")
            assert found is not None
            assert found["other"]
    assert glance(request(b"X-Long: " + b"a" * 10_000, LENGTH)) is None


@given(
    fields=st.lists(st.sampled_from([*PLAIN, *ODD, LENGTH]), max_size=6),
    extra=st.binary(max_size=12),
    start=st.sampled_from(
        [b"POST /v1/score HTTP/1.1", b"POST /v1/score?a=%20b HTTP/1.1", b"POST * HTTP/1.1"]
    ),
    body=st.sampled_from([BODY, BODY[:3], BODY + b"GET /"]),
)
@example(fields=[LENGTH], extra=b"", start=b"POST /v1/score HTTP/1.1", body=BODY)
def test_whatever_a_glance_sees_the_parser_takes_for_the_same_one_request(
    fields: list[bytes], extra: bytes, start: bytes, body: bytes
) -> None:
    data = request(*fields, b"X-Extra: " + extra, start=start, body=body)
    seen = glance(data)
    if seen is None:
        return
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    parser.feed_data(data)
    assert heard.whole == 1
    assert parser.should_keep_alive()
    assert not parser.should_upgrade()
    parser.feed_data(b"GET /next HTTP/1.1\r\n\r\n")
    assert heard.targets == [seen.target, b"/next"]
    assert heard.ids == ([] if seen.request_id is None else [seen.request_id])
