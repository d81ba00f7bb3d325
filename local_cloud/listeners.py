"""Listening sockets, and their URLs on this machine."""

import ipaddress
import socket

LOOPBACK = "127.0.0.1"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Port 0 takes a free port, which stays reserved. Raises OSError."""
    try:
        listener = socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    # Accepted sockets inherit it. Without it, a small answer waits 40 ms for the caller's delayed acknowledgement:
    # uvicorn takes a socket passed by number for a Unix one, so asyncio does not set it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url(listener: socket.socket) -> str:
    """The URL for processes of this machine."""
    host, port = listener.getsockname()
    return f"http://{LOOPBACK if host == '0.0.0.0' else host}:{port}"


def loopback(host: str) -> str:
    """`host` when it is a loopback address, else 127.0.0.1."""
    return host if ipaddress.IPv4Address(host).is_loopback else LOOPBACK
