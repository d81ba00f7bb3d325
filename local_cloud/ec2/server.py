"""moto in this process: EC2, Auto Scaling, IAM, STS, SSM, CloudWatch and the rest, on one port."""

import logging
import socket
import threading
from collections.abc import Callable, Iterable

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server


class _Ec2Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without this an answer waits some 40 ms for the caller's delayed acknowledgement.
    disable_nagle_algorithm = True
    timeout = 120.0

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """No access log."""


def application() -> Callable[..., Iterable[bytes]]:
    """moto as a WSGI application."""
    found = DomainDispatcherApplication(create_backend_app)
    # The first caller should not wait for this.
    found.app_instances["ec2"] = create_backend_app("ec2")
    answers: Callable[..., Iterable[bytes]] = found
    return answers


def serve(listener: socket.socket, answers: Callable[..., Iterable[bytes]]) -> str:
    """Answer on a socket that listens already, on daemon threads, until the process ends; the URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = listener.getsockname()
    server = make_server(host, port, answers, threaded=True, request_handler=_Ec2Handler, fd=listener.fileno())
    threading.Thread(target=server.serve_forever, name="moto", daemon=True).start()
    return f"http://{host}:{port}"
