"""Log lines: JSON, one object each, with the request they belong to."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.logs import configure_logs, request_id


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    out = io.StringIO()
    configure_logs("info", out)
    yield out
    root.handlers[:], _ = before
    root.setLevel(before[1])
    structlog.reset_defaults()


def test_a_line_is_one_json_object_with_the_request_id(stream: io.StringIO) -> None:
    token = request_id.set("r-1")
    structlog.get_logger().info("request_refused", status=422, path=io)
    request_id.reset(token)
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record["event"] == "request_refused"
    assert record["level"] == "info"
    assert record["request_id"] == "r-1"
    assert record["timestamp"].endswith("Z")


def test_outside_a_request_there_is_no_request_id(stream: io.StringIO) -> None:
    structlog.get_logger().info("ready")
    assert "request_id" not in json.loads(stream.getvalue())


def test_an_exception_is_logged_with_its_traceback(stream: io.StringIO) -> None:
    try:
        raise KeyError("missing")
    except KeyError as err:
        structlog.get_logger().error("request_failed", exc_info=err)
    assert "KeyError: 'missing'" in json.loads(stream.getvalue())["exception"]


def test_lines_below_the_level_are_left_out(stream: io.StringIO) -> None:
    structlog.get_logger().debug("detail")
    assert stream.getvalue() == ""


def test_the_servers_own_warnings_take_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    record = json.loads(stream.getvalue())
    assert record["event"] == "Invalid HTTP request received."
    assert record["level"] == "warning"


def test_text_that_is_no_unicode_does_not_break_the_log(stream: io.StringIO) -> None:
    structlog.get_logger().info("request_refused", message="\ud800")
    assert json.loads(stream.getvalue())["event"] == "request_refused"
