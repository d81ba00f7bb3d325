"""Lambda's runtime interface on this machine: hands one event at a time to a function's process, and takes its answer.

The interface is https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LIMIT_SECONDS = 120
ARN = "arn:aws:lambda:us-east-1:000000000000:function:shoal-lambda"


class LambdaRuntime:
    """Invokes the function whose process has `address` in AWS_LAMBDA_RUNTIME_API."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.events: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self.answers: queue.Queue[tuple[str, Any]] = queue.Queue()

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """The function's answer to an event. Raises RuntimeError with its error, queue.Empty without an answer."""
        self.events.put(event)
        kind, answer = self.answers.get(timeout=LIMIT_SECONDS)
        if kind != "response":
            raise RuntimeError(f"the function failed: {answer}")
        return answer


@contextmanager
def lambda_runtime() -> Iterator[LambdaRuntime]:
    """The interface on a port of the loopback interface, for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            event = runtime.events.get()
            if event is None:  # the end: the function is gone, or goes
                self.close_connection = True
                return
            body = json.dumps(event).encode()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
            self.send_header("Lambda-Runtime-Deadline-Ms", str(round((time.time() + LIMIT_SECONDS) * 1000)))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", ARN)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            runtime.answers.put((self.path.rpartition("/")[2], json.loads(body)))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        runtime = LambdaRuntime(f"127.0.0.1:{server.server_port}")
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield runtime
        finally:
            runtime.events.put(None)  # the function may wait for its next event
            server.shutdown()
            serving.join()
