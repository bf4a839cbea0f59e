"""Traces by OpenTelemetry: a span per request, and in it one per stage.

    TASKGRAFT_TRACES=true --open_traces--> Traces --record--> batches --OTLP over HTTP--> collector
                               └--> ConfigError: the extra is not installed

A request's spans are made once it is answered, from times that were taken anyway: while it runs,
tracing costs nothing. The caller's traceparent is the parent (W3C Trace Context). Everything else
is set by the standard OTEL_* variables, which the SDK reads. Nothing is imported unless wanted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from service.errors import ConfigError
from service.timeline import Timeline

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

UNTRACED = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
_NAME = "taskgraft"
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    Attributes:
        route: the path's template.
        headers: of the request; traceparent and tracestate are read.
        until: in seconds of time.perf_counter, as the timeline's.
    """

    method: str
    route: str
    headers: Mapping[bytes, bytes]
    request_id: str
    status: int
    timeline: Timeline
    until: float


class Traces:
    """Turns exchanges into spans. Event loop only; sending is another thread's work."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import propagate, trace  # noqa: PLC0415  optional

        self._provider = provider
        self._tracer = provider.get_tracer(_NAME)
        self._extract = propagate.extract
        self._within = trace.set_span_in_context
        self._server = trace.SpanKind.SERVER
        self._failed = trace.Status(trace.StatusCode.ERROR)

    def record(self, done: Exchange) -> None:
        """One request; those that only ask whether the process is well leave no trace."""
        if done.route in UNTRACED:
            return
        # Both clocks now: the wall's may have been set since the request came.
        epoch_ns = time.time_ns() - int(time.perf_counter() * _NS)
        carried = {name.decode("latin-1"): v.decode("latin-1") for name, v in done.headers.items()}
        span = self._tracer.start_span(
            f"{done.method} {done.route}",
            self._extract(carried),
            self._server,
            {
                "http.request.method": done.method,
                "http.route": done.route,
                "http.response.status_code": done.status,
                "taskgraft.request_id": done.request_id,
            },
            start_time=epoch_ns + int(done.timeline.since * _NS),
        )
        if span.is_recording():
            if done.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.set_status(self._failed)
            inside = self._within(span)
            for stage, begin, end in done.timeline.spans:
                part = self._tracer.start_span(
                    stage, inside, start_time=epoch_ns + int(begin * _NS)
                )
                part.end(epoch_ns + int(end * _NS))
        span.end(epoch_ns + int(done.until * _NS))

    def close(self) -> None:
        """Send what is left; blocks."""
        self._provider.shutdown()


def open_traces(worker: str) -> Traces:
    """Traces of one worker process, sent as the OTEL_* variables say.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as err:
        raise ConfigError(
            "TASKGRAFT_TRACES is on, but OpenTelemetry is not installed: add the otel extra "
            "(pip install 'taskgraft[service,cpu,otel]') or switch it off"
        ) from err
    resource = Resource.create({"service.instance.id": worker})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": _NAME}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)
