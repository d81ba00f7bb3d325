"""Ports for processes that are about to start."""

from __future__ import annotations

import random
import socket

# Below the ports that the kernel gives to outgoing connections, so that none of those takes a port of ours.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on, reserved for this process as long as it lives.

    Other processes that ask here get other ports: the reservation is an abstract Unix socket named after the port,
    which the kernel removes with the process.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        reservation = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            try:
                reservation.bind(f"\0shoal-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                reservation.close()
                continue
        reservation.detach()  # stays open until this process ends
        return port
    raise RuntimeError("every port is taken")
