"""OpenTelemetry spans for the journey of each photo; off unless an endpoint is set.

While it is off, OpenTelemetry is not imported and every function returns at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

Stages = Mapping[str, tuple[float, float]]
"""Name -> (begin, end), both by `time.perf_counter()` of this process."""

EXPORT_SECONDS = 2  # with all retries: a collector that does not answer must not delay the end of a program

_spans: _Spans | None = None


def configure(endpoint: str, service: str) -> None:
    """Send spans to the OTLP collector at the base address `endpoint` (http://host:4318); none when it is empty."""
    global _spans
    if endpoint:
        _spans = _Spans(endpoint, service)


def begin(stages: Stages) -> dict[str, str]:
    """Start the trace of a photo with its stages so far. Returns message attributes that carry it; empty when off."""
    return _spans.begin(stages) if _spans else {}


def add(attributes: Mapping[str, str], name: str, stages: Stages) -> None:
    """Add to the trace in a message's attributes a span `name`, with a child span for each stage."""
    if _spans and stages:
        _spans.add(attributes, name, stages)


def close() -> None:
    """Send the spans that wait, and switch off."""
    global _spans
    if _spans:
        _spans.close()
    _spans = None


class _Spans:
    def __init__(self, endpoint: str, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # No atexit handler: `close` sends the rest.
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("shoal")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, stages: Stages) -> dict[str, str]:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._span("photo", None, stages))
        return carrier

    def add(self, attributes: Mapping[str, str], name: str, stages: Stages) -> None:
        self._span(name, self._propagator.extract(dict(attributes)), stages)

    def _span(self, name: str, parent: Any, stages: Stages) -> Any:
        """Make a span from the first begin to the last end, with a child for each stage. Returns its context."""
        from opentelemetry import trace

        # perf_counter has no date: its offset from the clock with a date is measured now.
        offset = time.time_ns() - time.perf_counter_ns()
        moments = {stage: (_ns(began) + offset, _ns(ended) + offset) for stage, (began, ended) in stages.items()}
        whole = self._tracer.start_span(name, parent, start_time=min(began for began, _ in moments.values()))
        context = trace.set_span_in_context(whole)
        for stage, (began, ended) in moments.items():
            self._tracer.start_span(stage, context, start_time=began).end(ended)
        whole.end(max(ended for _, ended in moments.values()))
        return context

    def close(self) -> None:
        self._provider.shutdown()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
