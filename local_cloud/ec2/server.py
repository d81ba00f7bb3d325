"""Serves moto in this process on one port: EC2, Auto Scaling, IAM, STS, SSM, CloudWatch and the rest."""

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
    dispatcher = DomainDispatcherApplication(create_backend_app)
    # Made now, so that the first caller does not wait for it.
    dispatcher.app_instances["ec2"] = create_backend_app("ec2")
    answers: Callable[..., Iterable[bytes]] = dispatcher
    return answers


def serve(listener: socket.socket, answers: Callable[..., Iterable[bytes]]) -> str:
    """Answer on a listening socket, on daemon threads, until the process ends. Returns the URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = listener.getsockname()
    server = make_server(host, port, answers, threaded=True, request_handler=_Ec2Handler, fd=listener.fileno())
    threading.Thread(target=server.serve_forever, name="moto", daemon=True).start()
    return f"http://{host}:{port}"
