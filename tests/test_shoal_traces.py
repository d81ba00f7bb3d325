"""Traces: what reaches a collector, and that nothing of it is there while it is off."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shoal import traces
from shoal.clock import SystemClock
from shoal.memory import memory_cloud
from shoal.messages import Job, new_batch
from tests.app_tier_fixtures import NamingRecogniser, short_polls, wait_for, working
from web_tier.venues import pool

ROOT = Path(__file__).parent.parent


class TraceCollector(ThreadingHTTPServer):
    """Keeps the spans that are posted to it: (service, span)."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, object]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: TraceCollector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            [service] = [one.value.string_value for one in resource.resource.attributes if one.key == "service.name"]
            self.server.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    server = TraceCollector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    traces.close()


@pytest.mark.usefixtures(short_polls.__name__)
def test_a_photo_is_one_trace_from_its_upload_to_its_response(collector: TraceCollector) -> None:
    cloud = memory_cloud(SystemClock())
    traces.configure(collector.address, "shoal-web")
    before = time.time_ns()
    job = Job(new_batch(time.time()), 0, "a.jpg", "replies")
    submission = pool.PoolVenue(cloud.inputs, cloud.requests).open()
    submission.submit(job, b"photo")
    submission.flush()
    traces.close()
    traces.configure(collector.address, "shoal-worker")
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 1)
    traces.close()

    spans = {span.name: (service, span) for service, span in collector.spans}  # type: ignore[attr-defined]
    worked = ["label", "queue", "fetch", "decode", "wait", "infer", "store", "publish"]
    assert {name: service for name, (service, _) in spans.items()} == {
        "photo": "shoal-web",
        "upload": "shoal-web",
        **dict.fromkeys(worked, "shoal-worker"),
    }
    found = {name: span for name, (_, span) in spans.items()}
    assert len({span.trace_id for span in found.values()}) == 1  # type: ignore[attr-defined]
    parents = {name: found["photo" if name in ("upload", "label") else "label"] for name in found if name != "photo"}
    for name, parent in parents.items():
        assert found[name].parent_span_id == parent.span_id, name  # type: ignore[attr-defined]
    moments = [(one.start_time_unix_nano, one.end_time_unix_nano) for one in found.values()]  # type: ignore[attr-defined]
    assert all(before - 1e6 <= began <= ended <= time.time_ns() + 1e6 for began, ended in moments)


def test_while_it_is_off_nothing_is_imported_or_sent() -> None:
    script = (
        "import sys, app_tier.__main__, web_tier.__main__; from shoal import traces; traces.configure('', 'x');"
        "assert traces.begin({'upload': (0, 1)}) == {}; traces.add({}, 'label', {'fetch': (0, 1)});"
        "sys.exit('opentelemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_a_collector_that_is_not_there_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    traces.configure("http://127.0.0.1:9", "shoal-worker")
    traces.add(traces.begin({"upload": (0.0, 1.0)}), "label", {"fetch": (1.0, 2.0)})
    traces.close()
