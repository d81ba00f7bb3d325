"""Sockets that listen, and the URLs under which they are reached from this machine."""

import ipaddress
import socket

LOOPBACK = "127.0.0.1"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one, and nobody can take it away again. Raises OSError."""
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def url(listener: socket.socket) -> str:
    """Where the processes of this machine reach it."""
    host, port = listener.getsockname()
    return f"http://{LOOPBACK if host == '0.0.0.0' else host}:{port}"


def loopback(host: str) -> str:
    """`host` when it is a loopback address, else the usual one."""
    return host if ipaddress.IPv4Address(host).is_loopback else LOOPBACK
