"""Listening sockets, and their URLs on this machine."""

import ipaddress
import socket

LOOPBACK = "127.0.0.1"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Port 0 takes a free port, which stays reserved. Raises OSError."""
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def url(listener: socket.socket) -> str:
    """The URL for processes of this machine."""
    host, port = listener.getsockname()
    return f"http://{LOOPBACK if host == '0.0.0.0' else host}:{port}"


def loopback(host: str) -> str:
    """`host` when it is a loopback address, else 127.0.0.1."""
    return host if ipaddress.IPv4Address(host).is_loopback else LOOPBACK
