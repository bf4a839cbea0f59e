"""Bytes that no client library would send: an answer from 400 to 499, and the server lives on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.fakes import FakeParts
from tests.live_server import LiveServer, live_server, settings_for_tests
from tests.service_process import until

HEAD = b"POST /v1/score HTTP/1.1\r\nHost: x\r\n"
GOOD = b'{"user_id":1,"item_ids":[1]}'


@pytest.fixture(scope="module")
def live() -> Iterator[LiveServer]:
    settings = settings_for_tests(max_body_bytes=2000, arrival_s=0.3)
    with live_server(FakeParts().open, settings) as server:
        yield server


def exchange(url: str, raw: bytes) -> bytes:
    """All that the server answers until it closes, or is silent for a while."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall(raw)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
                if answer.endswith(b"}"):
                    break
        except TimeoutError:
            pass
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_a_chunked_body_is_a_body(live: LiveServer) -> None:
    pieces = [GOOD[at : at + 1] for at in range(len(GOOD))]
    raw = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(*pieces)
    assert status(exchange(live.public, raw)) == 200


def test_a_body_after_expect_continue_is_a_body(live: LiveServer) -> None:
    raw = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    answer = exchange(live.public, raw)
    assert answer.startswith((b"HTTP/1.1 100", b"HTTP/1.1 200"))


def test_two_requests_in_one_packet_get_two_answers(live: LiveServer) -> None:
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    host, port = live.public.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(one + last)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n", {400, 413}),
        (HEAD + b"Content-Length: 5000\r\n\r\n" + b" " * 5000, {413}),
        (HEAD + b"Content-Length: -1\r\n\r\n", {400}),
        (HEAD + b"Content-Length: x\r\n\r\n", {400}),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", {400}),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", {400}),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(*[b"x" * 100] * 30), {413}),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(*[b" "] * 1900), {400}),
        (HEAD + b"Content-Length: 0\r\n\r\n", {400}),
        (HEAD + b"Content-Length: 10\r\n\r\n{", {408}),
        (HEAD + b"Content-Length: 4\r\n\r\n\xff\xfe\xfd\xfc", {400}),
        (HEAD + b"X-Request-ID: \xff\xfe\r\nContent-Length: 1\r\n\r\n{", {400}),
        (HEAD + b"Content-Type: \xff\r\nContent-Length: 1\r\n\r\n{", {415}),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\n{", {415}),
        (b"POST /v1/score?\xff HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{", {400}),
        (b"GET /%ff%00%0a HTTP/1.1\r\nHost: x\r\n\r\n", {404}),
        (b"GET /v1/tasks/%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n", {404}),
        (b"GET //v1/tasks HTTP/1.1\r\nHost: x\r\n\r\n", {404}),
        (b"GET http://elsewhere/v1/score HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, 405}),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, 405}),
        (b"BREW /v1/score HTTP/1.1\r\nHost: x\r\n\r\n", {400, 405}),
        (b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
        (b"nonsense\r\n\r\n", {400}),
        (b"\x16\x03\x01\x02\x00", {400}),
    ],
)
def test_broken_bytes_get_a_client_error(live: LiveServer, raw: bytes, expected: set[int]) -> None:
    answer = exchange(live.public, raw)
    assert status(answer) in expected
    head, _, body = answer.partition(b"\r\n\r\n")
    document = json.loads(body)
    assert set(document["error"]) >= {"code", "message"}
    assert f"x-request-id: {document['request_id']}".encode() in head.lower()
    raw = HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    assert status(exchange(live.public, raw)) == 200
    until(lambda: live.service.gate.in_flight == 0)  # an answer is read before its place is free


@pytest.mark.parametrize(
    "opening",
    [
        b"GET /livez HTTP/1.1\r\nHost: x\r\nA: ",
        b"GET /livez?",
        b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * 100,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nA: ",
    ],
)
def test_a_head_or_trailer_without_end_ends_the_connection(
    live: LiveServer, opening: bytes
) -> None:
    """Otherwise it is read on, in quadratic time, and nobody else is served."""
    assert flood(live.public, opening) < 10_000_000  # sockets buffer what is not read


def flood(url: str, opening: bytes) -> int:
    """Bytes that can be sent after an opening before the server ends the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(opening)
        for sent in range(0, 50_000_000, 100_000):
            try:
                connection.sendall(b"a" * 100_000)
            except (ConnectionResetError, BrokenPipeError):
                return sent
    return 50_000_000


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /livez HTTP/1.1\r\nHost",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /",
        HEAD + b"Content-Length: 10\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ],
)
def test_a_request_that_never_comes_whole_ends_the_connection(
    live: LiveServer, begun: bytes
) -> None:
    host, port = live.public.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(begun)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200") == begun.count(b"/livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answers.count(b"HTTP/1.1 408") == 1


def test_many_tiny_chunks_end_the_connection(live: LiveServer) -> None:
    raw = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1_000_000
    with suppress(ConnectionResetError, BrokenPipeError):
        # Whoever had sent all of it before the end may still read why.
        assert status(exchange(live.public, raw)) == 413


def test_a_head_within_the_bound_is_read(live: LiveServer) -> None:
    raw = b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 60_000 + b"\r\n\r\n"
    assert status(exchange(live.public, raw)) == 200


@pytest.mark.parametrize("header", [b"Bearer \xff\xfe", b"\xff", b"Bearer " + b"a" * 20000, b""])
def test_broken_credentials_are_no_credentials(live: LiveServer, header: bytes) -> None:
    raw = b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: " + header + b"\r\n\r\n"
    assert status(exchange(live.admin, raw)) == 401
