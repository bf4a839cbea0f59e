"""Traces, received by a real collector over OTLP/HTTP."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.app import create_service
from service.errors import ConfigError
from service.parts import open_parts
from tests.fakes import FakeParts
from tests.live_server import live_server, settings_for_tests
from tests.service.tiny import BUNDLE

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REQUEST = {"user_id": "user-3", "item_ids": [100, 101]}


class Collector:
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        self.received: list[ExportTraceServiceRequest] = []
        keep = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    keep.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def spans(self) -> Sequence[Span]:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, str]:
        found = self.received[0].resource_spans[0].resource.attributes
        return {attribute.key: attribute.value.string_value for attribute in found}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Named by the standard variable."""
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    port = found.server.server_address[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Collector:
    """After one score, one refusal and a health check, and the end of the service."""
    state = tmp_path_factory.mktemp("state")
    settings = settings_for_tests(
        bundle=BUNDLE, traces=True, feature_store=f"embedded:{state}", task_store=str(state / "t")
    )
    with live_server(open_parts, settings) as live:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "mine"}
        httpx.post(f"{live.public}/v1/score", json=REQUEST, headers=headers).raise_for_status()
        unsampled = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
        httpx.post(f"{live.public}/v1/score", json=REQUEST, headers=unsampled).raise_for_status()
        httpx.post(f"{live.public}/v2/models/nope/infer", content=b"{}")
        httpx.get(f"{live.public}/readyz").raise_for_status()
    return collector


def attributes(span: Span) -> dict[str, object]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_a_request_is_a_span_below_its_callers_with_a_span_per_stage(traced: Collector) -> None:
    (request,) = [span for span in traced.spans if span.name == "POST /v1/score"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/score",
        "http.response.status_code": 200,
        "taskgraft.request_id": "mine",
    }
    parts = [span for span in traced.spans if span.parent_span_id == request.span_id]
    assert [part.name for part in parts] == ["parse", "features", "encode", "run", "write"]
    moments = [request.start_time_unix_nano]
    for part in parts:
        moments += [part.start_time_unix_nano, part.end_time_unix_nano]
    moments.append(request.end_time_unix_nano)
    assert moments == sorted(moments)


def test_a_caller_who_does_not_sample_is_heeded_and_health_checks_leave_no_trace(
    traced: Collector,
) -> None:
    names = sorted(span.name for span in traced.spans if span.kind == Span.SPAN_KIND_SERVER)
    assert names == ["POST /v1/score", "POST /v2/models/{name}/infer"]


def test_the_service_has_a_name_unless_it_is_given_one(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for expected in ("taskgraft", "shop"):
        collector.received.clear()
        with live_server(FakeParts().open, settings_for_tests(traces=True)) as live:
            httpx.get(f"{live.public}/v1/tasks")
        assert collector.resource["service.name"] == expected
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")


def test_without_the_extra_the_service_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match="add the otel extra"):
        create_service(settings_for_tests(traces=True), FakeParts().open)
